package program

import (
	"fmt"
	"strconv"
	"strings"
)

// String shows the argument as the listing does: a name where it has one, r3 for the result of a call.
func (a Arg) String() string {
	switch {
	case a.kind == argSlot:
		return fmt.Sprintf("r%d", a.value)
	case a.form == formText:
		return a.text
	case a.form == formQuoted:
		return quote(a.text)
	case a.form == formOctal:
		return "0" + strconv.FormatUint(a.value, 8)
	case a.form == formHex:
		return "0x" + strconv.FormatUint(a.value, 16)
	case a.form == formFlags:
		return flagText(a.value, *a.set)
	case a.form == formFunc && a.show != nil:
		return a.show()
	case int64(a.value) < 0:
		return fmt.Sprint(int64(a.value))
	}
	return fmt.Sprint(a.value)
}

// String shows the call as in its manual page: openat2(3, "proc", {O_PATH, RESOLVE_IN_ROOT}, 24).
func (c *Call) String() string {
	args := make([]string, len(c.args))
	for i, a := range c.args {
		args[i] = a.String()
	}
	return c.Sys.String() + "(" + strings.Join(args, ", ") + ")"
}

// Line is one line of a listing.
type Line struct {
	Step int    // the step that the line belongs to, -1 for none
	Call int    // index of the call, -1 for the other instructions
	Text string // for instance "r1 = openat(AT_FDCWD, \"/\", O_PATH|O_CLOEXEC, 0)"
	Else string // what happens when the call fails, empty for the default (report and stop)
}

// Lines lists the program, one line for each instruction.
func (p *Program) Lines() []Line {
	var out []Line
	step := -1
	for _, in := range p.instrs {
		l := Line{Call: -1}
		switch in.op {
		case opCall:
			step = in.call.Step
			l.Call = in.call.Index
			l.Text = in.call.String()
			if in.call.result >= 0 {
				l.Text = fmt.Sprintf("r%d = %s", in.call.result, l.Text)
			}
			l.Else = in.call.elseText()
		case opLabel:
			l.Text = fmt.Sprintf("L%d:", in.label)
		case opJump:
			l.Text = fmt.Sprintf("goto L%d", in.label)
		case opIf:
			cmp := "=="
			if in.negate {
				cmp = "!="
			}
			l.Text = fmt.Sprintf("if r%d %s %d goto L%d", in.slot, cmp, in.number, in.label)
		case opIfSame:
			l.Text = fmt.Sprintf("if r%d == %s goto L%d", in.slot, in.src, in.label)
		case opStore:
			l.Text = fmt.Sprintf("%s = %s", place(in.off), in.src)
		case opLoad:
			l.Text = fmt.Sprintf("r%d = %s", in.slot, place(in.off))
		case opSet:
			l.Text = fmt.Sprintf("r%d = %s", in.slot, in.src)
		case opAdd:
			l.Text = fmt.Sprintf("r%d += %d", in.slot, in.number)
		}
		l.Step = step
		out = append(out, l)
	}
	return out
}

// place names a word of 32 bits of writable memory.
func place(off int32) string {
	if off >= scratchOffset {
		off -= scratchOffset
		return fmt.Sprintf("scratch[%d:%d]", off, off+4)
	}
	return fmt.Sprintf("buf[%d:%d]", off, off+4)
}

func (c *Call) elseText() string {
	var parts []string
	for _, e := range c.ignore {
		parts = append(parts, errnoName(e)+": go on")
	}
	for _, j := range c.jumps {
		name := "any error"
		if j.errno != 0 {
			name = errnoName(j.errno)
		}
		parts = append(parts, fmt.Sprintf("%s: goto L%d", name, j.to))
	}
	return strings.Join(parts, ", ")
}

// Listing is the whole program as text, the form that golden files hold.
func (p *Program) Listing() string {
	var b strings.Builder
	for _, l := range p.Lines() {
		switch {
		case l.Call >= 0:
			fmt.Fprintf(&b, "%4d  %s", l.Call, l.Text)
		case strings.HasSuffix(l.Text, ":"):
			fmt.Fprintf(&b, "    %s", l.Text)
		default:
			fmt.Fprintf(&b, "      %s", l.Text)
		}
		if l.Else != "" {
			fmt.Fprintf(&b, "  else %s", l.Else)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
