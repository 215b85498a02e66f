package event

import (
	"fmt"
	"strings"
)

// Stream is the name of the one stream that holds the journal.
const Stream = "JOURNAL"

// NoService stands in subjects where a record or command concerns no service.
const NoService = "_"

// Names of subjects, each with its pattern:
//
//	sup.<node>.evt.<service|_>.<group>.<what>    records
//	sup.<node>.cmd.<actor>.<service|_>           commands, by request
//	sup.<node>.ask.<actor>.<verb>                questions, answered from memory
//
// Node, actor and service are one token each: a dot in a service name is
// written %2E (a percent sign cannot occur in a name).
func subject(node string, tokens ...string) string {
	return "sup." + node + "." + strings.Join(tokens, ".")
}

// RecordSubject is where a record of this kind about this service is stored.
func RecordSubject(node, service string, k Kind) string {
	return subject(node, "evt", Token(service), k.Group(), k.What())
}

// RecordSubjects is the wildcard over all records of a node.
func RecordSubjects(node string) string { return subject(node, "evt", ">") }

// CommandSubject is where an actor sends commands; service may be empty.
func CommandSubject(node, actor, service string) string {
	return subject(node, "cmd", actor, Token(service))
}

// CommandSubjects is the wildcard over all commands of an actor; "*" for all.
func CommandSubjects(node, actor string) string { return subject(node, "cmd", actor, "*") }

// AskSubject is where an actor sends a question of this verb.
func AskSubject(node, actor, verb string) string { return subject(node, "ask", actor, verb) }

// AskSubjects is the wildcard over all questions of an actor; "*" for all.
func AskSubjects(node, actor string) string { return subject(node, "ask", actor, "*") }

// Token writes a service name as one subject token.
func Token(service string) string {
	if service == "" {
		return NoService
	}
	return strings.ReplaceAll(service, ".", "%2E")
}

// MaxServiceName is the length limit of a service name in bytes.
const MaxServiceName = 64

// CheckServiceName tells whether a name may be a service's:
// [A-Za-z0-9_][A-Za-z0-9_.@:+-]{0,63} and not "all".
func CheckServiceName(name string) error {
	if name == "all" {
		return fmt.Errorf(`service name "all" is reserved: it stands for all services in commands`)
	}
	if name == "" || len(name) > MaxServiceName {
		return fmt.Errorf("service name must have 1 to %d characters", MaxServiceName)
	}
	for i := range len(name) {
		c := name[i]
		word := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		if word || i > 0 && strings.IndexByte(".@:+-", c) >= 0 {
			continue
		}
		return fmt.Errorf("service name %q has %q at position %d: allowed are letters, digits, _ and, not first, . @ : + -", name, c, i+1)
	}
	return nil
}
