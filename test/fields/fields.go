// Package fields names the fields of config.json, for tests that must not forget one of them: it finds them in the
// types of the specification, so a new version of those brings its new fields along.
//
// A field's name is its path in the JSON: process.user.umask, process.rlimits[].soft (of each element of a list),
// linux.netDevices{}.name (of each value of a map).
//
//	for _, name := range fields.All() {
//		without := fields.Ignore(spec, base, name) // as a runtime that does not know the field reads it
//	}
package fields

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// All lists the fields that hold values, in the order of the types; the sections of other platforms are one each.
func All() []string { return below(reflect.TypeFor[specs.Spec](), "") }

func below(t reflect.Type, path string) []string {
	switch t.Kind() {
	case reflect.Pointer:
		return below(t.Elem(), path)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Struct {
			return below(t.Elem(), path+"[]")
		}
	case reflect.Map:
		if t.Elem().Kind() == reflect.Struct {
			return below(t.Elem(), path+"{}")
		}
	case reflect.Struct:
		var out []string
		for i := range t.NumField() {
			f := t.Field(i)
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			at := strings.TrimPrefix(path+"."+name, ".")
			platform := f.Tag.Get("platform")
			switch {
			case f.Anonymous && name == "":
				out = append(out, below(f.Type, path)...)
			case platform != "" && !strings.Contains(platform, "linux") && f.Type.Kind() == reflect.Pointer:
				out = append(out, at)
			default:
				out = append(out, below(f.Type, at)...)
			}
		}
		return out
	}
	return []string{path}
}

// Ignore returns a copy of the configuration in which a field is as in base, or missing where base has none: what a
// runtime sees that pays no heed to it.
func Ignore(s, base *specs.Spec, field string) (*specs.Spec, error) {
	edited, err := tree(s)
	if err != nil {
		return nil, err
	}
	old, err := tree(base)
	if err != nil {
		return nil, err
	}
	if !reset(edited, old, strings.Split(field, ".")) {
		return nil, fmt.Errorf("the configuration has no value for %s", field)
	}
	data, err := json.Marshal(edited)
	if err != nil {
		return nil, err
	}
	var out specs.Spec
	return &out, json.Unmarshal(data, &out)
}

func tree(s *specs.Spec) (out map[string]any, err error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	return out, json.Unmarshal(data, &out)
}

// reset reports whether there was something to reset.
func reset(edited, old any, path []string) bool {
	to, ok := edited.(map[string]any)
	if !ok {
		return false
	}
	from, _ := old.(map[string]any)
	name := strings.TrimSuffix(strings.TrimSuffix(path[0], "[]"), "{}")
	v, has := to[name]
	if !has {
		return false
	}
	if len(path) == 1 {
		if before, ok := from[name]; ok {
			to[name] = before
		} else {
			delete(to, name)
		}
		return true
	}
	found := false
	switch {
	case strings.HasSuffix(path[0], "[]"):
		list, _ := v.([]any)
		before, _ := from[name].([]any)
		for i, e := range list {
			var b any
			if i < len(before) {
				b = before[i]
			}
			found = reset(e, b, path[1:]) || found
		}
	case strings.HasSuffix(path[0], "{}"):
		values, _ := v.(map[string]any)
		before, _ := from[name].(map[string]any)
		for key, e := range values {
			found = reset(e, before[key], path[1:]) || found
		}
	default:
		found = reset(v, from[name], path[1:])
	}
	return found
}
