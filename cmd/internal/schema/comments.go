package schema

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
)

// Comments holds what the source says about types and their fields.
type Comments struct {
	types  map[string]string // by type
	fields map[string]string // by Type.Field
}

// ReadComments reads the Go files of a folder, tests excepted.
func ReadComments(dir string) (Comments, error) {
	c := Comments{types: map[string]string{}, fields: map[string]string{}}
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		return c, fmt.Errorf("cannot find the vocabulary in %s", dir)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			return c, fmt.Errorf("cannot read the comments of the vocabulary: %w", err)
		}
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.TYPE {
				c.add(g)
			}
		}
	}
	return c, nil
}

func (c Comments) add(g *ast.GenDecl) {
	for _, s := range g.Specs {
		t := s.(*ast.TypeSpec)
		c.types[t.Name.Name] = sentence(g.Doc.Text())
		st, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, f := range st.Fields.List {
			text := strings.TrimSpace(f.Doc.Text() + " " + f.Comment.Text())
			for _, n := range f.Names {
				c.fields[t.Name.Name+"."+n.Name] = sentence(text)
			}
		}
	}
}

func (c Comments) ofType(t reflect.Type) string { return c.types[t.Name()] }

// ofField finds the comment of a field, in the struct or in one that is embedded
// in it.
func (c Comments) ofField(t reflect.Type, name string) string {
	if text := c.fields[t.Name()+"."+name]; text != "" {
		return text
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous {
			if text := c.ofField(f.Type, name); text != "" {
				return text
			}
		}
	}
	return ""
}

func sentence(s string) string { return strings.Join(strings.Fields(s), " ") }
