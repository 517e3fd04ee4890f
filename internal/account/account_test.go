package account

import (
	"reflect"
	"strings"
	"testing"
)

func TestParseSpec(t *testing.T) {
	num := func(n uint32) Ref { return Ref{ID: n, Numeric: true} }
	name := func(s string) Ref { return Ref{Name: s} }
	for in, want := range map[string]Spec{
		"0":                {User: num(0)},
		"1000":             {User: num(1000)},
		"007":              {User: num(7)},
		"4294967294":       {User: num(MaxID)},
		"1000:1000":        {User: num(1000), Group: num(1000), HasGroup: true},
		"root":             {User: name("root")},
		"www-data:adm":     {User: name("www-data"), Group: name("adm"), HasGroup: true},
		"_apt":             {User: name("_apt")},
		"host$":            {User: name("host$")},
		"user@example.org": {User: name("user@example.org")},
		"jürgen":           {User: name("jürgen")},
		"root:0":           {User: name("root"), Group: num(0), HasGroup: true},
	} {
		if got, err := ParseSpec(in); err != nil || got != want {
			t.Errorf("%q: %+v %v", in, got, err)
		}
	}
	for _, in := range []string{
		"", ":", "1:", ":1", "-1", "+1", "+0", "1x", "0x0", "1e3", "1_000", " 1", "1 ", "1\n", "1.0",
		"4294967295", "4294967296", "18446744073709551616", "99999999999999999999999999999",
		"1:4294967295", "1:4294967296", "1:2:3", "root:", "ro ot", "root\x00", "root\n0", "-root",
		"a$b", "$", ".", "..", "../etc", "a/b", "a,b", strings.Repeat("a", 257), "1:-1", "1:+1", "١",
	} {
		// Arabic-Indic digits are bytes above ASCII and so a name, never a number.
		if in == "١" {
			if got, err := ParseSpec(in); err != nil || got.User.Numeric {
				t.Errorf("%q: %+v %v", in, got, err)
			}
			continue
		}
		if got, err := ParseSpec(in); err == nil {
			t.Errorf("%q was taken for %+v", in, got)
		}
	}
}

const passwd = `root:x:0:0:root:/root:/bin/bash
# a comment
+::::::
broken
bad:x:1x:1::/:
neg:x:-1:0::/:
nogid:x:77:4294967296::/:
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
1000:x:0:0:a trap:/root:/bin/sh
alice:x:1000:1000:Alice:/home/alice:/bin/sh
relative:x:1001:1001::home:
short:x:1002:1002
` + "crlf:x:1003:1003::/crlf:/bin/sh\r\n"

const group = `root:x:0:
adm:x:4:alice,syslog
www-data:x:33:
users:x:100:bob, alice
alice:x:1000:alice
more:x:100:alice
notyou:x:200:alicex,xalice
odd:x:zz:carol
`

func TestResolve(t *testing.T) {
	for in, want := range map[string]Identity{
		"root":           {Name: "root", Home: "/root", Shell: "/bin/bash"},
		"0":              {Name: "root", Home: "/root", Shell: "/bin/bash"},
		"33":             {UID: 33, GID: 33, Name: "www-data", Home: "/var/www", Shell: "/usr/sbin/nologin"},
		"alice":          {UID: 1000, GID: 1000, Groups: []uint32{4, 100}, Name: "alice", Home: "/home/alice", Shell: "/bin/sh"},
		"1000":           {UID: 1000, GID: 1000, Groups: []uint32{4, 100}, Name: "alice", Home: "/home/alice", Shell: "/bin/sh"},
		"alice:adm":      {UID: 1000, GID: 4, Name: "alice", Home: "/home/alice", Shell: "/bin/sh"},
		"alice:77":       {UID: 1000, GID: 77, Name: "alice", Home: "/home/alice", Shell: "/bin/sh"},
		"2000":           {UID: 2000, Home: "/"},
		"2000:users":     {UID: 2000, GID: 100, Home: "/"},
		"4294967294:1":   {UID: MaxID, GID: 1, Home: "/"},
		"relative":       {UID: 1001, GID: 1001, Name: "relative", Home: "/"},
		"short":          {UID: 1002, GID: 1002, Name: "short", Home: "/"},
		"crlf":           {UID: 1003, GID: 1003, Name: "crlf", Home: "/crlf", Shell: "/bin/sh"},
		"alice:www-data": {UID: 1000, GID: 33, Name: "alice", Home: "/home/alice", Shell: "/bin/sh"},
	} {
		spec, err := ParseSpec(in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Resolve(spec, []byte(passwd), []byte(group))
		if len(got.Groups) == 0 {
			got.Groups = nil
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v %v", in, got, err)
		}
	}
	for in, say := range map[string]string{
		"mallory":   `user "mallory" is not in /etc/passwd`,
		"root:none": `group "none" is not in /etc/group`,
		"root:odd":  `line 8 of /etc/group: gid "zz" of group "odd"`,
		"bad":       `line 5 of /etc/passwd: uid "1x" of user "bad"`,
		"neg":       `line 6 of /etc/passwd: uid "-1"`,
		"nogid":     `line 7 of /etc/passwd: gid "4294967296"`,
		"77":        `line 7 of /etc/passwd: gid "4294967296"`,
		"broken":    `line 4 of /etc/passwd (user "broken") has 1 fields, not 7`,
	} {
		spec, err := ParseSpec(in)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Resolve(spec, []byte(passwd), []byte(group)); err == nil || !strings.Contains(err.Error(), say) {
			t.Errorf("%s: %+v, %v", in, got, err)
		}
	}
}

func TestResolveWithoutFiles(t *testing.T) {
	spec, _ := ParseSpec("5:6")
	if got, err := Resolve(spec, nil, nil); err != nil || got.UID != 5 || got.GID != 6 || got.Home != "/" {
		t.Errorf("%+v %v", got, err)
	}
}

func TestOverlongLineIsRefused(t *testing.T) {
	long := []byte("a:x:1:1:" + strings.Repeat("x", maxLine) + ":/:\nroot:x:0:0::/root:/bin/sh\n")
	spec, _ := ParseSpec("root")
	if got, err := Resolve(spec, long, nil); err == nil || !strings.Contains(err.Error(), "line 1 of /etc/passwd is longer") {
		t.Errorf("%+v %v", got, err)
	}
}

func TestSubIDs(t *testing.T) {
	file := []byte(`# comment
alice:100000:65536
1000:200000:65536
bob:300000:65536
alice:400000:0
alice:4294967290:10
alice:x:10
alice:-1:10
alice:500000:1:2
alice:4294967294:1
10001:1:1
`)
	want := []Range{{100000, 65536}, {200000, 65536}, {4294967294, 1}}
	if got := SubIDs("alice", 1000, file); !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
	if got := SubIDs("", 1000, file); !reflect.DeepEqual(got, want[1:2]) {
		t.Errorf("by uid only: %v", got)
	}
	if got := SubIDs("", 5, []byte(":1:1\n")); got != nil {
		t.Errorf("an empty name matched an empty owner: %v", got)
	}
}

func FuzzParseSpec(f *testing.F) {
	for _, s := range []string{"", "0", "1000:1000", "root:adm", "1x", "+1", "-1", "4294967295", "a:b:c", "ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		spec, err := ParseSpec(s)
		if err != nil {
			return
		}
		for _, r := range []Ref{spec.User, spec.Group} {
			if r.Numeric && (r.ID > MaxID || r.Name != "") {
				t.Errorf("%q: %+v", s, r)
			}
			if !r.Numeric && strings.ContainsAny(r.Name, ":\n\x00/ ") {
				t.Errorf("%q: %+v", s, r)
			}
		}
		// Nothing but leading zeros may be lost: what was parsed says the same when written again.
		text := spec.User.String()
		if spec.HasGroup {
			text += ":" + spec.Group.String()
		}
		again, err := ParseSpec(text)
		if err != nil || again != spec {
			t.Errorf("%q, written as %q, became %+v, %v", s, text, again, err)
		}
		// An id stands for its digits: the user side is numeric only if every byte is a digit.
		user, _, _ := strings.Cut(s, ":")
		if digits := strings.Trim(user, "0123456789") == ""; digits != spec.User.Numeric {
			t.Errorf("%q: numeric %v", s, spec.User.Numeric)
		}
	})
}

func FuzzResolve(f *testing.F) {
	f.Add("alice", passwd, group)
	f.Add("1000", passwd, group)
	f.Add("a:b", "a:x:1:1", "b:x:1:")
	f.Fuzz(func(t *testing.T, who, passwd, group string) {
		spec, err := ParseSpec(who)
		if err != nil {
			return
		}
		id, err := Resolve(spec, []byte(passwd), []byte(group))
		if err != nil {
			return
		}
		if spec.User.Numeric && id.UID != spec.User.ID {
			t.Errorf("%q became uid %d", who, id.UID)
		}
		if id.Home == "" || id.Home[0] != '/' {
			t.Errorf("home %q", id.Home)
		}
		for _, g := range id.Groups {
			if g == id.GID || g > MaxID {
				t.Errorf("groups %v, gid %d", id.Groups, id.GID)
			}
		}
	})
}

func FuzzSubIDs(f *testing.F) {
	f.Add("alice", uint32(1000), "alice:100000:65536\n1000:1:1\n")
	f.Fuzz(func(t *testing.T, name string, uid uint32, file string) {
		for _, r := range SubIDs(name, uid, []byte(file)) {
			if r.Count == 0 || uint64(r.Start)+uint64(r.Count)-1 > MaxID {
				t.Errorf("%+v", r)
			}
		}
	})
}
