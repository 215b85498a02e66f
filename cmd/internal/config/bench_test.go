package config

import (
	"fmt"
	"strings"
	"testing"
)

// BenchmarkLoad reads a thousand services.
func BenchmarkLoad(b *testing.B) {
	var text strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&text, "[service.s%d]\ncommand = 'app --n ${SUPD_SERVICE}'\nenvironment = { A = '1' }\nlimits = { nofile = 100 }\nuser = 'ann'\n", i)
	}
	host := testHost(map[string]string{"supd.toml": text.String()})
	for b.Loop() {
		if set, problems := Load("/etc/supd/supd.toml", host); len(set.Services) != 1000 {
			b.Fatal(Format(problems))
		}
	}
}
