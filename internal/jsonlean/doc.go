// Package jsonlean reads and writes JSON like encoding/json, for programs that do it once and end.
//
//	var s specs.Spec
//	err := jsonlean.Unmarshal(data, &s)
//
// Before encoding/json touches a value of a type it prepares tables for every type that can be reached from
// there. For the configuration of a container that is some 150 types, those of other operating systems included,
// and takes 0.7 ms: as long as all the rest of starting one. This package looks at a type when a value of it comes
// along, which makes the first value cheap and the thousandth slower than it could be.
//
// Results are those of encoding/json, always: what is out of the ordinary (errors, keys in another case, keys
// that come twice, types with rules of their own) is left to encoding/json itself.
package jsonlean

import (
	"errors"
	"reflect"
	"strings"
)

// errOther says that the case is one for encoding/json.
var errOther = errors.New("leave it to encoding/json")

// field is a field of a struct as JSON knows it.
type field struct {
	name      string
	index     []int
	omitEmpty bool
}

// types remembers the fields of the structs that came along.
type types map[reflect.Type][]field

// fields lists the fields of a struct type; those of embedded structs count as its own.
func (ts types) fields(t reflect.Type) ([]field, error) {
	if f, ok := ts[t]; ok {
		return f, nil
	}
	list, err := appendFields(make([]field, 0, t.NumField()), t, nil)
	if err != nil {
		return nil, err
	}
	for i := range list {
		for j := range i {
			if list[i].name == list[j].name {
				return nil, errOther // which of them counts is a matter of depth and tags
			}
		}
	}
	ts[t] = list
	return list, nil
}

func appendFields(list []field, t reflect.Type, at []int) ([]field, error) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		if tag == "-" {
			continue
		}
		index := f.Index
		if len(at) > 0 {
			index = append(at[:len(at):len(at)], i)
		}
		if f.Anonymous {
			if tag != "" || f.Type.Kind() != reflect.Struct {
				return nil, errOther
			}
			var err error
			if list, err = appendFields(list, f.Type, index); err != nil {
				return nil, err
			}
			continue
		}
		if !f.IsExported() {
			continue
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "" {
			name = f.Name
		}
		for option := range strings.SplitSeq(options, ",") {
			if option != "" && option != "omitempty" {
				return nil, errOther
			}
		}
		list = append(list, field{name, index, strings.Contains(options, "omitempty")})
	}
	return list, nil
}
