package userns

import (
	"strings"
	"testing"
)

func TestFind(t *testing.T) {
	file := "# comment\nother:100000:65536\n1000:5:0\nme:x:5\nme:200000:65536\nme:300000:10\n"
	a, n, ok := find(strings.NewReader(file), []string{"1000", "me"})
	if !ok || a != 200000 || n != 65536 {
		t.Error(a, n, ok)
	}
	if _, _, ok := find(strings.NewReader(file), []string{"1001", "you"}); ok {
		t.Error("found a range of someone else")
	}
	if _, _, ok := find(strings.NewReader("me:0:5\nme:-1:5\nme:99999999999:5\n"), []string{"1", "me"}); ok {
		t.Error("took a range that is none")
	}
	if a, _, ok := find(strings.NewReader("1000:7:8\n"), []string{"1000"}); !ok || a != 7 {
		t.Error("an id in the place of a name is not found")
	}
}
