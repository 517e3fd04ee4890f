package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// record is what results.json holds.
type record struct {
	System  system
	Results []*result
	Skipped []string
}

// merge adds the results of earlier runs that this one has not measured. They stay true only while the programs and the
// machine are the same: a record of another system is an error.
func (b *bench) merge(dir string) error {
	path := filepath.Join(dir, "results.json")
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("merge results: %w", err)
	}
	var old record
	if err := json.Unmarshal(data, &old); err != nil {
		return fmt.Errorf("merge results: read %s: %w", path, err)
	}
	if was, is := old.System.text(), b.system.text(); was != is {
		return fmt.Errorf("merge results: %s is of another system or of other versions:\n%s\nand this is\n%s\nmove it away first", path, was, is)
	}
	for _, line := range old.Skipped {
		if name, _, _ := strings.Cut(line, ":"); b.only != "" && !b.wants(name) && !slices.Contains(b.skipped, line) {
			b.skipped = append(b.skipped, line)
		}
	}
	b.results = mergeResults(old.Results, b.results)
	return nil
}

// mergeResults puts new results in the place of old ones of the same name, and those without behind them.
func mergeResults(old, fresh []*result) []*result {
	out := slices.Clone(old)
	for _, r := range fresh {
		if i := slices.IndexFunc(out, func(o *result) bool { return o.Name == r.Name }); i >= 0 {
			out[i] = r
		} else {
			out = append(out, r)
		}
	}
	return out
}
