package criu

import "os"

// Type is what CRIU is asked to do (enum criu_req_type).
type Type int

// What can be asked for, and what CRIU says meanwhile.
const (
	Dump    Type = 1
	Restore Type = 2
	PreDump Type = 4
	notify  Type = 6
)

// CgroupMode is how CRIU treats the properties of cgroups (enum criu_cg_mode).
type CgroupMode int

// The modes, by the names of --manage-cgroups-mode.
const (
	CgroupIgnore  CgroupMode = 0
	CgroupSoft    CgroupMode = 3
	CgroupFull    CgroupMode = 4
	CgroupStrict  CgroupMode = 5
	CgroupDefault CgroupMode = 6
)

// Request says what to do with which processes.
type Request struct {
	Type    Type
	Images  *os.File // directory of the images
	Work    *os.File // directory of logs and statistics; nil for that of the images
	LogFile string   // name of the log in it
	PID     int      // first process of the tree to dump
	Root    string   // the container's root, as seen by CRIU

	Parent         string // directory of an earlier pre-dump, relative to Images
	TrackMemory    bool   // remember which pages change, for a dump that has this one for a parent
	LeaveRunning   bool
	ExtUnixSockets bool // unix sockets with a peer outside
	TCPEstablished bool
	TCPSkipInFlight,
	LinkRemap bool
	ShellJob  bool // the terminal is the caller's
	FileLocks bool
	AutoDedup,
	LazyPages bool
	StatusFD   int // gets a zero byte when the pages can be fetched; -1 for none
	PageServer string
	PagePort   int
	EmptyNS    uint32 // CLONE_NEW* of namespaces that are restored empty
	Cgroups    CgroupMode
	// FreezeCgroup is the directory of the cgroup that stops the processes meanwhile.
	FreezeCgroup string
	// External names what belongs to others: "mnt[/data]:/data", "net[4026531992]:name", "file[1f:2a]".
	External []string
	// Inherit names, on restore, the descriptors of Session that take the place of what was external.
	Inherit []Inherited
	// CgroupRoots say where the cgroups of each v1 hierarchy ("" is the unified one) are restored.
	CgroupRoots     []CgroupRoot
	LSMProfile      string // such as "apparmor:unconfined"
	LSMMountContext string // SELinux context of restored mounts
	ConfigFile      string // more options, criu(8)
}

// Inherited is a descriptor of CRIU's process that takes the place of something external.
type Inherited struct {
	Key string
	FD  int
}

// CgroupRoot is where one hierarchy's cgroups go.
type CgroupRoot struct{ Controllers, Path string }

// Numbers of the fields of criu_req, criu_opts and criu_resp.
const (
	reqType, reqOpts, reqNotifySuccess = 1, 2, 3

	respType, respSuccess, respRestore, respNotify, respErrno, respErrmsg = 1, 2, 4, 5, 7, 9
)

// encode makes the message.
func (r *Request) encode() []byte {
	var o message
	o.number(1, int64(r.Images.Fd()))
	if r.PID != 0 {
		o.number(2, int64(r.PID))
	}
	o.truth(3, r.LeaveRunning)
	o.truth(4, r.ExtUnixSockets)
	o.truth(5, r.TCPEstablished)
	o.truth(6, r.Type == Restore) // devices are found by their numbers, if not by their paths
	o.truth(7, r.ShellJob)
	o.truth(8, r.FileLocks)
	o.number(9, 4) // log everything but debugging
	o.text(10, r.LogFile)
	if r.PageServer != "" {
		var ps message
		ps.text(1, r.PageServer)
		ps.number(2, int64(r.PagePort))
		o.bytes(11, ps)
	}
	o.truth(12, true) // notifications
	o.text(13, r.Root)
	o.text(14, r.Parent)
	o.truth(15, r.TrackMemory)
	o.truth(16, r.AutoDedup)
	if r.Work != nil {
		o.number(17, int64(r.Work.Fd()))
	}
	o.truth(18, r.LinkRemap)
	o.truth(24, true) // cgroups, in the mode below
	for _, c := range r.CgroupRoots {
		var m message
		m.bytes(1, []byte(c.Controllers))
		m.bytes(2, []byte(c.Path))
		o.bytes(25, m)
	}
	o.truth(26, r.Type == Restore) // the restored process is a child of ours, not of CRIU
	for _, i := range r.Inherit {
		var m message
		m.text(1, i.Key)
		m.number(2, int64(i.FD))
		o.bytes(27, m)
	}
	o.number(34, int64(r.Cgroups))
	for _, e := range r.External {
		o.text(37, e)
	}
	if r.EmptyNS != 0 {
		o.number(38, int64(r.EmptyNS))
	}
	o.text(44, r.FreezeCgroup)
	o.truth(46, r.TCPSkipInFlight)
	o.truth(48, r.LazyPages)
	if r.StatusFD > 0 {
		o.number(49, int64(r.StatusFD))
	}
	o.truth(50, true) // terminals whose master is outside
	o.text(51, r.ConfigFile)
	o.text(53, r.LSMProfile)
	o.text(63, r.LSMMountContext)

	var m message
	m.number(reqType, int64(r.Type))
	m.bytes(reqOpts, o)
	return m
}

// answer is what CRIU says: the end of a request, or a notification.
type answer struct {
	kind    Type
	success bool
	errno   int
	text    string // why not
	pid     int    // of a restored process
	script  string // the name of a notification
}

func parseAnswer(b []byte) (answer, error) {
	f, err := read(b)
	if err != nil {
		return answer{}, err
	}
	a := answer{
		kind: Type(f[respType].number), success: f[respSuccess].number != 0,
		errno: int(f[respErrno].number), text: string(f[respErrmsg].bytes),
	}
	if r, ok := f[respRestore]; ok {
		in, err := read(r.bytes)
		if err != nil {
			return a, err
		}
		a.pid = int(in[1].number)
	}
	if n, ok := f[respNotify]; ok {
		in, err := read(n.bytes)
		if err != nil {
			return a, err
		}
		a.script, a.pid = string(in[1].bytes), int(in[2].number)
	}
	return a, nil
}

// heard is the message that answers a notification.
func heard(ok bool) []byte {
	var m message
	m.number(reqType, int64(notify))
	n := int64(0)
	if ok {
		n = 1
	}
	m.number(reqNotifySuccess, n)
	return m
}
