package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gcr/internal/plan"
	"gcr/test/fields"
)

// elsewhere are the tests on the kernel of fields that TestFields and the other tables of this package do not have.
var elsewhere = map[string]string{
	"ociVersion":                                    "TestVersions",
	"process.apparmorProfile":                       "TestAppArmor",
	"process.selinuxLabel":                          "TestSELinux",
	"process.execCPUAffinity.initial":               "TestExecAffinity",
	"process.execCPUAffinity.final":                 "TestExecAffinity",
	"annotations":                                   "TestPrestartStateAndHooksOrder",
	"linux.namespaces[].path":                       "TestJoinNamespaces",
	"linux.netDevices{}.name":                       "TestNetDevices",
	"linux.seccomp.architectures":                   "TestSocketcall",
	"linux.seccomp.flags":                           "TestFlags",
	"linux.seccomp.listenerPath":                    "TestSeccompListener",
	"linux.seccomp.listenerMetadata":                "TestSeccompListener",
	"linux.mountLabel":                              "TestSELinux",
	"linux.intelRdt.closID":                         "TestResctrlGroups",
	"linux.intelRdt.schemata":                       "TestResctrlGroups",
	"linux.intelRdt.l3CacheSchema":                  "TestResctrlGroups",
	"linux.intelRdt.memBwSchema":                    "TestResctrlGroups",
	"linux.intelRdt.enableMonitoring":               "TestResctrlGroups",
	"linux.resources.memory.checkBeforeUpdate":      "TestCheckBeforeUpdate",
	"linux.resources.blockIO.weight":                "TestIOWeights",
	"linux.resources.blockIO.weightDevice[].major":  "TestIOWeights",
	"linux.resources.blockIO.weightDevice[].minor":  "TestIOWeights",
	"linux.resources.blockIO.weightDevice[].weight": "TestIOWeights",
	"linux.resources.network.classID":               "TestNetworkClass",
	"linux.resources.network.priorities[].name":     "TestNetworkPriority",
	"linux.resources.network.priorities[].priority": "TestNetworkPriority",
	"linux.resources.rdma{}.hcaHandles":             "TestRDMAWithoutDevice",
	"linux.resources.rdma{}.hcaObjects":             "TestRDMAWithoutDevice",
	"linux.cgroupsPath":                             "TestCgroupsPath",
}

// testedBy is the test of a field on the kernel; empty when it has none.
func testedBy(field string) string {
	name, resource := strings.CutPrefix(field, "linux.resources.")
	limits := limitTests()
	switch _, limited := limits[name]; {
	case resource && limited:
		return "TestResources"
	case resource && strings.HasPrefix(name, "devices[]."):
		return "TestDeviceRules"
	case strings.HasPrefix(field, "hooks."):
		return "TestHookFields"
	case slices.Contains(slices.Collect(maps.Keys(allFieldTests())), field):
		return "TestFields"
	}
	return elsewhere[field]
}

var row = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([^|]*) \\| ([^|]*) \\| ([^|]*) \\|$")

// docs/oci-conformance.md has a line for each field of the specification's types, which says that it is supported, and
// names the golden file and the test that there are; or says why not.
func TestEveryFieldHasALine(t *testing.T) {
	data, err := os.ReadFile("../docs/oci-conformance.md")
	if err != nil {
		t.Skip("the documentation is not here: ", err)
	}
	lines := map[string][]string{}
	for _, m := range row.FindAllStringSubmatch(string(data), -1) {
		if lines[m[1]] != nil {
			t.Errorf("%s has two lines", m[1])
		}
		lines[m[1]] = m[2:]
	}
	tests := testNames(t)
	for _, field := range fields.All() {
		l := lines[field]
		delete(lines, field)
		if l == nil {
			t.Errorf("%s has no line", field)
			continue
		}
		supported, golden, tested := l[0], l[1], l[2]
		no := strings.HasPrefix(supported, "no: ")
		if !no && !strings.HasPrefix(supported, "yes") {
			t.Errorf("%s: %q says neither yes nor why not", field, supported)
		}
		file := strings.NewReplacer("[]", "", "{}", "").Replace(field) + ".txt"
		there := ""
		for _, where := range []string{"plan", "cgroup"} {
			if _, err := os.Stat(filepath.Join("../internal", where, "testdata/fields", file)); err == nil {
				there = where
			}
		}
		if there != "" && golden != there || there == "" && !no && !strings.HasPrefix(golden, "none: ") {
			t.Errorf("%s: the golden file is said to be of %q, it is of %q", field, golden, there)
		}
		test := testedBy(field)
		if test == "" && no && tested == "" {
			continue
		}
		if test == "" || !strings.HasPrefix(tested, test) {
			t.Errorf("%s: said to be tested by %q, it is by %q", field, tested, test)
		}
		for _, name := range regexp.MustCompile(`Test\w+`).FindAllString(tested, -1) {
			if !tests[name] {
				t.Errorf("%s: there is no test %s", field, name)
			}
		}
	}
	for _, o := range plan.MountOptions() {
		if _, ok := lines[o]; !ok {
			t.Errorf("the mount option %s has no line", o)
		}
		delete(lines, o)
	}
	for name := range lines {
		t.Errorf("the line of %s is about no field and no option", name)
	}
}

// testNames are the tests of the module.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil {
				names[d.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
