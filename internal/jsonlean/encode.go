package jsonlean

import (
	"encoding"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// Marshal writes a value as JSON; the result is that of json.Marshal.
func Marshal(v any) ([]byte, error) {
	e := encoder{types: types{}}
	b, err := e.append(make([]byte, 0, 1<<10), reflect.ValueOf(v), 0)
	if err != nil {
		return json.Marshal(v)
	}
	return b, nil
}

type encoder struct{ types types }

func (e encoder) append(b []byte, v reflect.Value, depth int) ([]byte, error) {
	if !v.IsValid() {
		return append(b, "null"...), nil
	}
	if depth > maxDepth {
		return nil, errOther
	}
	if writesItself(v) {
		// These types are leaves, such as time.Time.
		text, err := json.Marshal(v.Interface())
		if err != nil {
			return nil, err
		}
		return append(b, text...), nil
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return append(b, "null"...), nil
		}
		return e.append(b, v.Elem(), depth+1)
	case reflect.Struct:
		return e.object(b, v, depth)
	case reflect.Map:
		return e.mapping(b, v, depth)
	case reflect.Slice:
		return e.array(b, v, depth)
	case reflect.String:
		return appendText(b, v.String())
	case reflect.Bool:
		return strconv.AppendBool(b, v.Bool()), nil
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return strconv.AppendInt(b, v.Int(), 10), nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return strconv.AppendUint(b, v.Uint(), 10), nil
	case reflect.Float64:
		text, err := json.Marshal(v.Float())
		return append(b, text...), err
	}
	return nil, errOther
}

// writesItself reports whether the type, or a pointer to it, has a say in how it is written.
func writesItself(v reflect.Value) bool {
	t := v.Type()
	if t.Name() == "" || t.PkgPath() == "" {
		return false
	}
	ask := v
	if v.CanAddr() {
		ask = v.Addr()
	}
	if !ask.CanInterface() {
		return false
	}
	switch ask.Interface().(type) {
	case json.Marshaler, encoding.TextMarshaler:
		return true
	}
	return false
}

func (e encoder) object(b []byte, v reflect.Value, depth int) ([]byte, error) {
	fields, err := e.types.fields(v.Type())
	if err != nil {
		return nil, err
	}
	b = append(b, '{')
	first := true
	for _, f := range fields {
		m := v.FieldByIndex(f.index)
		if f.omitEmpty && empty(m) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		if b, err = appendText(b, f.name); err != nil {
			return nil, err
		}
		b = append(b, ':')
		if b, err = e.append(b, m, depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// empty is what omitempty means (encoding/json, Marshal).
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Map, reflect.Slice, reflect.Array, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	}
	return v.IsZero()
}

func (e encoder) mapping(b []byte, v reflect.Value, depth int) ([]byte, error) {
	if v.Type().Key().Kind() != reflect.String || v.Type().Key().PkgPath() != "" {
		return nil, errOther
	}
	if v.IsNil() {
		return append(b, "null"...), nil
	}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	b = append(b, '{')
	for i, k := range keys {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendText(b, k.String()); err != nil {
			return nil, err
		}
		b = append(b, ':')
		if b, err = e.append(b, v.MapIndex(k), depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func (e encoder) array(b []byte, v reflect.Value, depth int) ([]byte, error) {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		return nil, errOther // base64
	}
	if v.IsNil() {
		return append(b, "null"...), nil
	}
	b = append(b, '[')
	for i := range v.Len() {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = e.append(b, v.Index(i), depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

// appendText writes a string.
func appendText(b []byte, s string) ([]byte, error) {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&':
			text, err := json.Marshal(s)
			return append(b, text...), err
		}
	}
	return append(append(append(b, '"'), s...), '"'), nil
}
