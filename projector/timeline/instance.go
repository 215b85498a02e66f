package timeline

import (
	"reflect"

	"supd/journal/event"
)

// InstanceOf is the id of the instance that a record's data is about; empty if
// it is about none. Unknown data is about none.
func InstanceOf(d event.Data) string {
	v := reflect.ValueOf(d)
	if v.Kind() != reflect.Struct {
		return ""
	}
	if f := v.FieldByName("Instance"); f.IsValid() && f.Kind() == reflect.String {
		return f.String()
	}
	return ""
}
