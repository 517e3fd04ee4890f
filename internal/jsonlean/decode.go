package jsonlean

import (
	"encoding"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
)

// Unmarshal reads JSON into the value that v points to, which must be the zero value of its type. Errors are those of
// json.Unmarshal.
func Unmarshal(data []byte, v any) error {
	p := reflect.ValueOf(v)
	if p.Kind() != reflect.Pointer || p.IsNil() || !p.Elem().IsZero() {
		return json.Unmarshal(data, v)
	}
	d := decoder{data: data, types: types{}}
	err := d.value(p.Elem(), 0)
	if err == nil {
		d.space()
		if d.at == len(d.data) {
			return nil
		}
	}
	p.Elem().SetZero()
	return json.Unmarshal(data, v)
}

type decoder struct {
	data  []byte
	at    int
	types types
}

// maxDepth is far below the depth at which encoding/json gives up.
const maxDepth = 100

func (d *decoder) space() {
	for d.at < len(d.data) {
		switch d.data[d.at] {
		case ' ', '\t', '\r', '\n':
			d.at++
		default:
			return
		}
	}
}

// next skips space and returns the character that follows, 0 at the end.
func (d *decoder) next() byte {
	d.space()
	if d.at == len(d.data) {
		return 0
	}
	return d.data[d.at]
}

// take skips space and then the character c, which must be there.
func (d *decoder) take(c byte) error {
	if d.next() != c {
		return errOther
	}
	d.at++
	return nil
}

func (d *decoder) word(w string) bool {
	if len(d.data)-d.at < len(w) || string(d.data[d.at:d.at+len(w)]) != w {
		return false
	}
	d.at += len(w)
	return true
}

// value reads one value.
func (d *decoder) value(v reflect.Value, depth int) error {
	if depth > maxDepth {
		return errOther
	}
	c := d.next()
	if c == 'n' {
		if !d.word("null") || ownRules(v) {
			return errOther
		}
		return nil // the value is zero already
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		return d.value(v.Elem(), depth)
	}
	if ownRules(v) {
		begin := d.at
		if err := d.skip(depth); err != nil {
			return err
		}
		u, ok := v.Addr().Interface().(json.Unmarshaler)
		if !ok {
			return errOther
		}
		return u.UnmarshalJSON(d.data[begin:d.at])
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.object(v, depth)
	case reflect.Map:
		return d.mapping(v, depth)
	case reflect.Slice:
		return d.array(v, depth)
	case reflect.String:
		s, err := d.text()
		if err != nil {
			return err
		}
		v.SetString(s)
		return nil
	case reflect.Bool:
		switch {
		case d.word("true"):
			v.SetBool(true)
		case !d.word("false"):
			return errOther
		}
		return nil
	}
	return d.number(v)
}

// ownRules reports whether the type reads itself.
func ownRules(v reflect.Value) bool {
	t := v.Type()
	if t.Name() == "" || t.PkgPath() == "" || !v.CanAddr() {
		return false
	}
	switch v.Addr().Interface().(type) {
	case json.Unmarshaler, encoding.TextUnmarshaler:
		return true
	}
	return false
}

func (d *decoder) object(v reflect.Value, depth int) error {
	fields, err := d.types.fields(v.Type())
	if err != nil {
		return err
	}
	if len(fields) > 64 {
		return errOther
	}
	var seen uint64
	return d.members(func() error {
		name, err := d.key()
		if err != nil {
			return err
		}
		for i, f := range fields {
			if f.name == string(name) {
				if seen>>i&1 != 0 {
					return errOther
				}
				seen |= 1 << i
				return d.value(v.FieldByIndex(f.index), depth+1)
			}
		}
		for _, f := range fields {
			if strings.EqualFold(f.name, string(name)) {
				return errOther
			}
		}
		return d.skip(depth + 1)
	})
}

// key reads the name of a member and the colon. Names of fields have neither escapes nor letters beyond ASCII.
func (d *decoder) key() ([]byte, error) {
	raw, simple, err := d.literal()
	if err != nil {
		return nil, err
	}
	if !simple {
		return nil, errOther
	}
	return raw, d.take(':')
}

// members reads an object, whose members are read by f.
func (d *decoder) members(f func() error) error {
	if err := d.take('{'); err != nil {
		return err
	}
	if d.next() == '}' {
		d.at++
		return nil
	}
	for {
		if err := f(); err != nil {
			return err
		}
		switch d.next() {
		case ',':
			d.at++
		case '}':
			d.at++
			return nil
		default:
			return errOther
		}
	}
}

func (d *decoder) mapping(v reflect.Value, depth int) error {
	t := v.Type()
	if t.Key().Kind() != reflect.String || t.Key().PkgPath() != "" {
		return errOther
	}
	v.Set(reflect.MakeMap(t))
	return d.members(func() error {
		name, err := d.text()
		if err != nil {
			return err
		}
		if err := d.take(':'); err != nil {
			return err
		}
		e := reflect.New(t.Elem()).Elem()
		if err := d.value(e, depth+1); err != nil {
			return err
		}
		v.SetMapIndex(reflect.ValueOf(name), e)
		return nil
	})
}

// elements reads an array, whose elements are read by f.
func (d *decoder) elements(f func() error) error {
	if err := d.take('['); err != nil {
		return err
	}
	if d.next() == ']' {
		d.at++
		return nil
	}
	for {
		if err := f(); err != nil {
			return err
		}
		switch d.next() {
		case ',':
			d.at++
		case ']':
			d.at++
			return nil
		default:
			return errOther
		}
	}
}

func (d *decoder) array(v reflect.Value, depth int) error {
	if v.Type().Elem().Kind() == reflect.Uint8 {
		return errOther // base64
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	return d.elements(func() error {
		n := v.Len()
		if n == v.Cap() {
			v.Grow(max(8, n))
		}
		v.SetLen(n + 1)
		return d.value(v.Index(n), depth+1)
	})
}

// literal reads a string and returns what stands between the quotes; simple says that it stands for itself.
func (d *decoder) literal() (raw []byte, simple bool, err error) {
	if err := d.take('"'); err != nil {
		return nil, false, err
	}
	begin := d.at
	simple = true
	for ; d.at < len(d.data); d.at++ {
		switch c := d.data[d.at]; {
		case c == '"':
			raw = d.data[begin:d.at]
			d.at++
			return raw, simple, nil
		case c == '\\':
			simple = false
			d.at++ // whatever it is, it does not end the string
		case c < ' ':
			return nil, false, errOther
		case c >= 0x80:
			simple = false
		}
	}
	return nil, false, errOther
}

func (d *decoder) text() (string, error) {
	d.space()
	begin := d.at
	raw, simple, err := d.literal()
	if err != nil || simple {
		return string(raw), err
	}
	return d.escaped(begin)
}

// escaped reads the string that begins there and has been passed.
func (d *decoder) escaped(begin int) (string, error) {
	var s string
	err := json.Unmarshal(d.data[begin:d.at], &s)
	return s, err
}

// skipText passes a string; a bad one is an error all the same.
func (d *decoder) skipText() error {
	d.space()
	begin := d.at
	_, simple, err := d.literal()
	if err == nil && !simple {
		_, err = d.escaped(begin)
	}
	return err
}

// digits reads a number (RFC 8259, section 6) and says whether it is a whole one.
func (d *decoder) digits() (text string, whole bool, err error) {
	begin := d.at
	run := func() bool {
		from := d.at
		for d.at < len(d.data) && d.data[d.at]-'0' <= 9 {
			d.at++
		}
		return d.at > from
	}
	is := func(set string) bool {
		if d.at < len(d.data) && strings.IndexByte(set, d.data[d.at]) >= 0 {
			d.at++
			return true
		}
		return false
	}
	is("-")
	if !is("0") && !run() {
		return "", false, errOther
	}
	whole = true
	if is(".") {
		whole = false
		if !run() {
			return "", false, errOther
		}
	}
	if is("eE") {
		whole = false
		is("+-")
		if !run() {
			return "", false, errOther
		}
	}
	return string(d.data[begin:d.at]), whole, nil
}

func (d *decoder) number(v reflect.Value) error {
	text, whole, err := d.digits()
	if err != nil {
		return err
	}
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || !whole || v.OverflowInt(n) {
			return errOther
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil || !whole || v.OverflowUint(n) {
			return errOther
		}
		v.SetUint(n)
	case reflect.Float64:
		n, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return errOther
		}
		v.SetFloat(n)
	default:
		return errOther
	}
	return nil
}

// skip reads a value that nobody wants.
func (d *decoder) skip(depth int) error {
	if depth > maxDepth {
		return errOther
	}
	switch c := d.next(); {
	case c == '{':
		return d.members(func() error {
			if err := d.skipText(); err != nil {
				return err
			}
			if err := d.take(':'); err != nil {
				return err
			}
			return d.skip(depth + 1)
		})
	case c == '[':
		return d.elements(func() error { return d.skip(depth + 1) })
	case c == '"':
		return d.skipText()
	case d.word("true") || d.word("false") || d.word("null"):
		return nil
	}
	_, _, err := d.digits()
	return err
}
