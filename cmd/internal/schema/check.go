package schema

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"supd/journal/event"
)

// Checker holds records against the strict schemas of their kinds. It is not
// safe for concurrent use.
type Checker struct {
	comments Comments
	compiled map[event.Kind]*jsonschema.Schema
}

// NewChecker reads the comments of the vocabulary from its folder.
func NewChecker(vocabulary string) (*Checker, error) {
	c, err := ReadComments(vocabulary)
	return &Checker{comments: c, compiled: map[event.Kind]*jsonschema.Schema{}}, err
}

// Check tells what a stored record does not keep of its kind's schema.
func (c *Checker) Check(record []byte) error {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(record))
	if err != nil {
		return fmt.Errorf("cannot read the record: %w", err)
	}
	object, _ := doc.(map[string]any)
	name, _ := object["type"].(string)
	kind := event.Kind(strings.TrimSuffix(strings.TrimPrefix(name, "supd."), ".v1"))
	s, err := c.schema(kind)
	if err != nil {
		return err
	}
	if err := s.Validate(doc); err != nil {
		return fmt.Errorf("%s does not match its schema: %w", kind, err)
	}
	return nil
}

func (c *Checker) schema(kind event.Kind) (*jsonschema.Schema, error) {
	if s := c.compiled[kind]; s != nil {
		return s, nil
	}
	if kind.Type() == "" || !known(kind) {
		return nil, fmt.Errorf("there is no kind %q", kind)
	}
	text, err := Of(kind, c.comments, true)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	url := "urn:supd:strict:" + string(kind)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(url, doc); err != nil {
		return nil, err
	}
	s, err := compiler.Compile(url)
	if err == nil {
		c.compiled[kind] = s
	}
	return s, err
}

func known(kind event.Kind) bool {
	for _, k := range event.Kinds() {
		if k == kind {
			return true
		}
	}
	return false
}
