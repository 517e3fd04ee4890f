package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"gcr/internal/hostfile"
	"gcr/internal/jsonlean"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// maxSize bounds a configuration, in bytes: far above any real one, far below what would hurt.
const maxSize = 16 << 20

// ErrMissing says that there is no configuration file.
var ErrMissing = errors.New("JSON specification file config.json not found")

// Load reads and checks the configuration in a file; it returns the bytes of the file as well.
func Load(path string) (*specs.Spec, []byte, error) {
	data, err := ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w (looked for %s)", ErrMissing, path)
	}
	if err != nil {
		return nil, nil, err
	}
	s, err := Parse(data)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", path, err)
	}
	return s, data, nil
}

// ReadFile reads a JSON file of bounded size.
func ReadFile(path string) ([]byte, error) {
	data, err := hostfile.Read(path, maxSize)
	if errors.Is(err, hostfile.ErrTooLarge) {
		return nil, fmt.Errorf("read %s: it is larger than %d MiB", path, maxSize>>20)
	}
	return data, err
}

// ReadAll reads JSON of bounded size; name is for the error message.
func ReadAll(r io.Reader, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > maxSize {
		return nil, fmt.Errorf("read %s: it is larger than %d MiB", name, maxSize>>20)
	}
	return data, nil
}

// Parse reads and checks a configuration.
func Parse(data []byte) (*specs.Spec, error) {
	var s specs.Spec
	if err := Decode(data, &s); err != nil {
		return nil, err
	}
	if err := Check(&s); err != nil {
		return nil, err
	}
	return &s, nil
}

// ParseMounts reads and checks a list of mounts: an array, or an object that has it as its member "mounts" like
// config.json itself.
func ParseMounts(data []byte) ([]specs.Mount, error) {
	var s specs.Spec
	to := any(&s)
	if text := bytes.TrimSpace(data); len(text) > 0 && text[0] == '[' {
		to = &s.Mounts
	}
	if err := Decode(data, to); err != nil {
		return nil, err
	}
	if len(s.Mounts) == 0 {
		return nil, wrong("mounts", "there are none")
	}
	return s.Mounts, checkMounts(&s)
}

// Decode reads JSON and says in which field a wrong type stands.
func Decode(data []byte, to any) error {
	err := jsonlean.Unmarshal(data, to)
	var wrongType *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrongType):
		// The type of devices is one inside others; in the JSON there is no such level.
		field := strings.ReplaceAll(wrongType.Field, ".LinuxBlockIODevice", "")
		return fmt.Errorf("%s: a JSON %s cannot be a %s", field, wrongType.Value, wrongType.Type)
	case errors.As(err, &syntax):
		line, column := position(data, syntax.Offset)
		return fmt.Errorf("line %d, column %d: %w", line, column, err)
	}
	return err
}

func position(data []byte, offset int64) (line, column int) {
	line, column = 1, 1
	for _, c := range data[:min(int(offset), len(data))] {
		column++
		if c == '\n' {
			line, column = line+1, 1
		}
	}
	return line, column
}
