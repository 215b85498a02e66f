package main

import (
	"regexp"
	"strings"
)

// redacted stands where a value was.
const redacted = "[redacted]"

// secrets are the forms in which programs write secrets: what names one and
// the value behind it, or a value that shows by itself what it is. $1 stays.
var secrets = []struct {
	hints []string // one of them, in lower case, is in every match
	form  *regexp.Regexp
}{
	{[]string{"authorization", "cookie"}, regexp.MustCompile(`(?i)(\b(?:proxy-)?(?:authorization|set-cookie|cookie)["']?\s*[:=]\s*)("[^"]*"|'[^']*'|[^\r\n]+)`)},
	{[]string{"bearer", "basic"}, regexp.MustCompile(`(?i)(\b(?:bearer|basic)\s+)([a-z0-9+/=._~-]{8,})`)},
	{
		[]string{"pass", "pwd", "secret", "token", "key", "credential"},
		regexp.MustCompile(`(?i)([a-z0-9_.-]*(?:passw(?:or)?d|passwd|passphrase|pwd|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?)[a-z0-9_-]*["']?(?:\s*[=:]>?\s*|\s+(?:is|set to)\s+))("[^"]*"|'[^']*'|[^\s,;&"']+)`),
	},
	{[]string{"--pass", "--token", "--secret"}, regexp.MustCompile(`(?i)(--(?:pass(?:word|wd|phrase)?|token|secret)\s+)(\S+)`)},
	{[]string{"://"}, regexp.MustCompile(`(\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s/:@]*:)([^\s/@]+)(@)`)},
	{[]string{"akia", "asia"}, regexp.MustCompile(`(\b)((?:AKIA|ASIA)[0-9A-Z]{16})\b`)},
	{[]string{"eyj"}, regexp.MustCompile(`(\b)(eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)`)},
	{[]string{"ghp_", "gho_", "ghs_", "github_pat_", "xox", "sk-", "sk_"}, regexp.MustCompile(`(\b)((?:gh[pos]_|github_pat_|xox[abpr]-|sk[-_](?:live|test|proj)?[-_]?)[A-Za-z0-9_-]{16,})`)},
	{[]string{"s"}, regexp.MustCompile(`(\b)(S[UANOCX][A-Z2-7]{56})\b`)}, // seeds of nkeys
}

// redactor replaces what looks like a secret in lines of output, and counts.
// It knows forms, not secrets: others pass.
type redactor struct {
	count int
	key   bool // within the lines of a private key
}

func (d *redactor) clean(line string) string {
	begins := strings.Contains(line, "-----BEGIN ") && strings.Contains(line, "PRIVATE KEY")
	if d.key || begins {
		d.key = !strings.Contains(line, "-----END ")
		d.count++
		return redacted
	}
	low := strings.ToLower(line)
	for _, s := range secrets {
		if !containsAny(low, s.hints) {
			continue
		}
		line = s.form.ReplaceAllStringFunc(line, func(match string) string {
			parts := s.form.FindStringSubmatch(match)
			if strings.Trim(parts[2], `"'`) == redacted {
				return match
			}
			d.count++
			kept := parts[1] + redacted
			if len(parts) > 3 {
				kept += parts[3]
			}
			return kept
		})
	}
	return line
}

func containsAny(text string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(text, p) {
			return true
		}
	}
	return false
}
