package listing

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestWrite(t *testing.T) {
	type item struct {
		Name string `json:"name"`
		Tags []string
	}
	items := []item{{"a<b", []string{"x", "y"}}, {"long-name", nil}}
	for _, c := range []struct {
		args  string
		items []item
		want  string
		err   string
	}{
		{"", items, "NAME        N\na<b         2\nlong-name   0\n", ""},
		{"--json", nil, "[]\n", ""},
		{"--json", items[:1], "[\n  {\n    \"name\": \"a<b\",\n    \"Tags\": [\n      \"x\",\n      \"y\"\n    ]\n  }\n]\n", ""},
		{"--format=json", nil, "[]\n", ""},
		{"--format={{.Name}}={{join .Tags \",\"}}", items, "a<b=x,y\nlong-name=\n", ""},
		{"--format=table {{json .Tags}}", items, "[\"x\",\"y\"]\nnull\n", ""},
		{"--format={{.Nmae}}", items, "", "write with --format: "},
		{"--format={{", items, "", "read --format: "},
	} {
		var o Options
		var out bytes.Buffer
		cmd := &cobra.Command{SilenceErrors: true, SilenceUsage: true, RunE: func(cmd *cobra.Command, _ []string) error {
			return Write(cmd, &o, c.items, func(w io.Writer) {
				fmt.Fprintln(w, "NAME\tN")
				for _, i := range c.items {
					fmt.Fprintf(w, "%s\t%d\n", i.Name, len(i.Tags))
				}
			})
		}}
		o.Flags(cmd, "names only")
		cmd.SetOut(&out)
		cmd.SetArgs(nil)
		if c.args != "" {
			cmd.SetArgs([]string{c.args})
		} else {
			cmd.SetArgs([]string{})
		}
		err := cmd.Execute()
		if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.HasPrefix(err.Error(), c.err)) {
			t.Errorf("%s: error %v, want %q", c.args, err, c.err)
		}
		if out.String() != c.want {
			t.Errorf("%s wrote\n%s, want\n%s", c.args, out.String(), c.want)
		}
	}
}
