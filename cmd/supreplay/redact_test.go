package main

import (
	"strings"
	"testing"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"nothing to see in the keyboard of monkeys":                       "",
		"password=hunter2 user=bob":                                       "password=[redacted] user=bob",
		`{"db_password": "hunter2", "n": 1}`:                              `{"db_password": [redacted], "n": 1}`,
		"DB_PASSWORD='a b' x":                                             "DB_PASSWORD=[redacted] x",
		"Authorization: Bearer abc.def.ghi-123":                           "Authorization: [redacted]",
		"> authorization: Basic dXNlcjpwYXNz":                             "> authorization: [redacted]",
		"using bearer abcdefgh1234 now":                                   "using bearer [redacted] now",
		"Set-Cookie: sid=1; HttpOnly":                                     "Set-Cookie: [redacted]",
		"connect postgres://bob:hunter2@db:5432/x":                        "connect postgres://bob:[redacted]@db:5432/x",
		"key AKIAIOSFODNN7EXAMPLE used":                                   "key [redacted] used",
		"run --password hunter2 --verbose":                                "run --password [redacted] --verbose",
		"api-key: 123456, retry":                                          "api-key: [redacted], retry",
		"jwt eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSM":                        "jwt [redacted]",
		"seed SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY": "seed [redacted]",
		"the token is 0123456789":                                         "the token is [redacted]",
	} {
		if want == "" {
			want = line
		}
		var d redactor
		if got := d.clean(line); got != want || (d.count > 0) != (got != line) {
			t.Errorf("%q\n\tis   %q\n\twant %q", line, got, want)
		}
		if again := d.clean(want); again != want {
			t.Errorf("%q is not left alone: %q", want, again)
		}
	}
	var d redactor
	for _, line := range []string{"-----BEGIN RSA PRIVATE KEY-----", "MIIEow", "-----END RSA PRIVATE KEY-----"} {
		if got := d.clean(line); got != redacted {
			t.Errorf("%q is %q", line, got)
		}
	}
	if got := d.clean("after"); got != "after" {
		t.Errorf("what comes behind a key is %q", got)
	}
}

// Whatever stands before it, a password that is named as one does not pass.
func FuzzRedact(f *testing.F) {
	f.Add("at 03:12 user=bob")
	f.Add("token=\"x")
	f.Add("Cookie: a; https://a:")
	f.Fuzz(func(t *testing.T, before string) {
		var d redactor
		secret := "Zq" + strings.Repeat("7", 20)
		if got := d.clean(before + " password=" + secret); strings.Contains(got, secret) || d.count == 0 {
			t.Errorf("%q", got)
		}
	})
}
