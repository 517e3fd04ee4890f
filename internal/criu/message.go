package criu

import (
	"encoding/binary"
	"errors"
)

// message is a protocol buffer that is being written (protobuf.dev/programming-guides/encoding).
type message []byte

// The kinds of fields that CRIU uses, as they are in the lowest three bits of a field's tag.
const (
	kindVarint = 0
	kind64     = 1
	kindBytes  = 2
	kind32     = 5
)

// number adds an integer, a boolean or an enumeration. Negative numbers take ten bytes, as the encoding wants.
func (m *message) number(field int, v int64) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|kindVarint)
	*m = binary.AppendUvarint(*m, uint64(v))
}

// truth adds a boolean that is true; false is what CRIU takes a missing one for.
func (m *message) truth(field int, v bool) {
	if v {
		m.number(field, 1)
	}
}

// bytes adds a text or a nested message.
func (m *message) bytes(field int, v []byte) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|kindBytes)
	*m = binary.AppendUvarint(*m, uint64(len(v)))
	*m = append(*m, v...)
}

// text adds a text that is not empty.
func (m *message) text(field int, v string) {
	if v != "" {
		m.bytes(field, []byte(v))
	}
}

var errMessage = errors.New("it is no protocol buffer")

// value is a field of a message that was read: a number, or bytes.
type value struct {
	number int64
	bytes  []byte
}

// read gives the fields of a message; of one that is there several times the last, as the encoding wants.
func read(b []byte) (map[int]value, error) {
	all := map[int]value{}
	for len(b) > 0 {
		tag, n := binary.Uvarint(b)
		if n <= 0 || tag>>3 == 0 || tag>>3 > 1<<29-1 {
			return nil, errMessage
		}
		b = b[n:]
		var v value
		switch tag & 7 {
		case kindVarint:
			u, n := binary.Uvarint(b)
			if n <= 0 {
				return nil, errMessage
			}
			v.number, b = int64(u), b[n:]
		case kindBytes:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return nil, errMessage
			}
			v.bytes, b = b[n:n+int(size)], b[n+int(size):]
		case kind64, kind32:
			size := 8
			if tag&7 == kind32 {
				size = 4
			}
			if len(b) < size {
				return nil, errMessage
			}
			b = b[size:] // CRIU has none of these
		default:
			return nil, errMessage
		}
		all[int(tag>>3)] = v
	}
	return all, nil
}
