package account

import (
	"bytes"
	"strconv"
)

// Range is a run of ids: Start, Start+1, … Start+Count-1.
type Range struct {
	Start uint32
	Count uint32
}

// SubIDs lists the subordinate ids of a user in the text of /etc/subuid or /etc/subgid (subuid(5)),
// in the file's order, as getsubids(1) does: a line "OWNER:START:COUNT" belongs to the user when OWNER is
// the login name or the decimal uid. name may be empty when it is not known.
//
// Lines that are not of that form, ranges of no ids and ranges that pass the largest id are skipped:
// newuidmap(1), which has the last word, would not grant them.
func SubIDs(name string, uid uint32, file []byte) []Range {
	var out []Range
	number := strconv.FormatUint(uint64(uid), 10)
	err := eachLine("", file, func(_ int, line []byte) (bool, error) {
		f := bytes.Split(line, colon)
		if len(f) != 3 {
			return true, nil
		}
		if owner := string(f[0]); owner != number && (name == "" || owner != name) {
			return true, nil
		}
		start, err := ParseID(string(f[1]))
		if err != nil {
			return true, nil
		}
		count, err := ParseID(string(bytes.TrimSpace(f[2])))
		if err != nil || count == 0 || uint64(start)+uint64(count)-1 > MaxID {
			return true, nil
		}
		out = append(out, Range{Start: start, Count: count})
		return true, nil
	})
	if err != nil {
		// An overlong line ends the reading; what stands before it counts.
		return out
	}
	return out
}
