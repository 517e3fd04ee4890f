package jsonlean

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
)

const config = `{"ociVersion":"1.0.2","process":{"terminal":false,"user":{"uid":1,"gid":2,"additionalGids":[3,4]},
"args":["sh","-c","echo \"a\u00e9\"\n"],"env":["PATH=/bin","TERM=xterm"],"cwd":"/","capabilities":{"bounding":["CAP_KILL"],"effective":[]},
"rlimits":[{"type":"RLIMIT_NOFILE","hard":1024,"soft":1024}],"noNewPrivileges":true,"oomScoreAdj":-5},
"root":{"path":"rootfs","readonly":true},"hostname":"gcr","unknown":{"a":[1,2.5e3,{"b":null}],"c":true},
"mounts":[{"destination":"/proc","type":"proc","source":"proc"},{"destination":"/dev","type":"tmpfs","options":["nosuid","mode=755"]}],
"annotations":{"a":"b","c":"ü"},
"linux":{"resources":{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":3}],
"memory":{"limit":1048576,"swap":-1},"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":10}],"throttleReadBpsDevice":[{"major":8,"minor":1,"rate":7}]}},
"namespaces":[{"type":"pid"},{"type":"network","path":"/proc/1/ns/net"}],"maskedPaths":["/proc/kcore"],"sysctl":{"a.b":"1"},
"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":1,"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":18446744073709551615,"op":"SCMP_CMP_EQ"}]}]}}}`

// lean is Unmarshal without the way out: it says whether this package could do it alone.
func lean(data []byte, v any) bool {
	d := decoder{data: data, types: types{}}
	if d.value(reflect.ValueOf(v).Elem(), 0) != nil {
		return false
	}
	d.space()
	return d.at == len(d.data)
}

// compare holds that what this package reads alone is what encoding/json reads, and writes likewise.
func compare(t *testing.T, data []byte) {
	t.Helper()
	var got, want specs.Spec
	if lean(data, &got) {
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatalf("%s is read, but %v", data, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%s\n got %+v\nwant %+v", data, got, want)
		}
	}
	got = specs.Spec{}
	want = specs.Spec{}
	gotErr, wantErr := Unmarshal(data, &got), json.Unmarshal(data, &want)
	if !reflect.DeepEqual(got, want) || (gotErr == nil) != (wantErr == nil) || gotErr != nil && gotErr.Error() != wantErr.Error() {
		t.Fatalf("%s\n got %+v, %v\nwant %+v, %v", data, got, gotErr, want, wantErr)
	}
	text, err := Marshal(&got)
	wantText, wantErr := json.Marshal(&got)
	if err != nil || wantErr != nil || string(text) != string(wantText) {
		t.Fatalf("written\n got %s %v\nwant %s %v", text, err, wantText, wantErr)
	}
}

func TestLikeEncodingJSON(t *testing.T) {
	var s specs.Spec
	if !lean([]byte(config), &s) {
		t.Error("the configuration is left to encoding/json")
	}
	for _, data := range []string{
		config, `{}`, ` { } `, `null`, ``, `{`, `{"a"}`, `{"a":}`, `{"hostname":"a",}`, `[]`, `{"hostname":1}`,
		`{"Hostname":"a"}`, `{"hostname":"a","hostname":"b"}`, `{"hostname":"\ud83d\ude00\q"}`, `{"hostname":"\u00e4"}`, "{\"hostname\":\"a\tb\"}",
		"{\"hostname\":\"\xff\"}", `{"process":{"user":{"uid":-1}}}`, `{"process":{"user":{"uid":4294967296}}}`, `{"process":{"user":{"uid":1.0}}}`,
		`{"process":{"user":{"uid":01}}}`, `{"process":{"args":null}}`, `{"process":{"args":[null,"a"]}}`, `{"process":null}`, `{"process":{"args":["a"`,
		`{"mounts":[]}`, `{"mounts":[{}]}`, `{"mounts":{}}`, `{"annotations":{"a":null}}`, `{"annotations":{"a":"1","a":"2"}}`, `{"x":1e5}`, `{"x":1e}`, `{"x":-}`, `{"x":.5}`, `{"x":tru}`,
		`{"windows":{"credentialSpec":{"a":1},"layerFolders":["x"]}}`, `{"linux":{"resources":{"pids":{"limit":5}}}} x`, `{"linux":{"devices":[{"path":"/dev/a","fileMode":438}]}}`,
		`{"process":{"env":["<&>"]}}`, `{"process":{"env":["\u2028"]}}`,
	} {
		compare(t, []byte(data))
	}
}

func FuzzLikeEncodingJSON(f *testing.F) {
	f.Add([]byte(config))
	f.Add([]byte(`{"windows":{"credentialSpec":{"a":1}},"process":{"env":["\u2028<"],"rlimits":null}}`))
	f.Fuzz(func(t *testing.T, data []byte) { compare(t, data) })
}

// Types that encoding/json treats in ways of their own.
func TestTypesWithRules(t *testing.T) {
	type inner struct {
		At   time.Time       `json:"at"`
		Raw  json.RawMessage `json:"raw,omitempty"`
		Byte []byte          `json:"byte,omitempty"`
		N    *int            `json:"n"`
		Skip int             `json:"-"`
		Any  any             `json:"any,omitempty"`
		F    float64
		hide int
	}
	n := 3
	in := inner{At: time.Unix(1700000000, 12345).UTC(), Raw: json.RawMessage(`{"a":1}`), Byte: []byte("abc"), N: &n, Any: map[string]any{"x": 1.0}, F: 0.1, hide: 1}
	for _, v := range []any{in, &in, []inner{in}, map[string]inner{"b": in, "a": {}}, map[int]string{1: "a"}, inner{}} {
		got, err := Marshal(v)
		want, wantErr := json.Marshal(v)
		if string(got) != string(want) || err != nil || wantErr != nil {
			t.Errorf("got %s %v\nwant %s %v", got, err, want, wantErr)
		}
	}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var got, want inner
	if err := Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}
