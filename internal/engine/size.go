package engine

import (
	"math"
	"strconv"
	"strings"
)

// parseSize reads a number of bytes: digits, perhaps with a decimal fraction, and a unit b, k, m, g, t in
// either case, perhaps followed by b or ib. All units are powers of 1024, as in Docker. The result is
// positive.
func parseSize(flag, value string) (int64, error) {
	const hint = "write for instance 512m or 2g; units are b, k, m, g, t, powers of 1024"
	s := strings.ToLower(value)
	shift := 0
	if s != "" {
		trimmed := s
		if t, ok := strings.CutSuffix(s, "ib"); ok {
			trimmed = t
		} else if t, ok := strings.CutSuffix(s, "b"); ok {
			trimmed = t
		}
		if trimmed == "" {
			return 0, badValue(flag, value, "is not a size", hint)
		}
		if i := strings.IndexByte("kmgt", trimmed[len(trimmed)-1]); i >= 0 {
			shift = 10 * (i + 1)
			trimmed = trimmed[:len(trimmed)-1]
		} else if strings.HasSuffix(s, "ib") {
			return 0, badValue(flag, value, "is not a size", hint)
		}
		s = trimmed
	}
	n, err := parseFixed(s, int64(1)<<shift)
	if err == errTooLarge {
		return 0, badValue(flag, value, "is more than 2^63-1 bytes", hint)
	}
	if err != nil {
		return 0, badValue(flag, value, "is not a size", hint)
	}
	if n == 0 {
		return 0, badValue(flag, value, "is nothing", "leave the flag out for no limit")
	}
	return n, nil
}

const (
	errNumber   = text("is not a number")
	errTooLarge = text("is too large")
)

// parseFixed reads a decimal number without sign or exponent, times unit, rounded down. It takes at most
// nine digits after the point.
func parseFixed(s string, unit int64) (int64, error) {
	whole, frac, point := strings.Cut(s, ".")
	if whole == "" || point && frac == "" || len(frac) > 9 || !digits(whole) || !digits(frac) {
		return 0, errNumber
	}
	n, err := strconv.ParseUint(whole, 10, 63)
	if err != nil {
		return 0, errTooLarge
	}
	if n > uint64(math.MaxInt64/unit) {
		return 0, errTooLarge
	}
	total := int64(n) * unit
	if frac != "" {
		f, _ := strconv.ParseInt(frac, 10, 64)
		scale := int64(1)
		for range frac {
			scale *= 10
		}
		// f < scale ≤ 1e9, so that unit is split to keep the product below 2^63.
		part := unit/scale*f + unit%scale*f/scale
		if total > math.MaxInt64-part {
			return 0, errTooLarge
		}
		total += part
	}
	return total, nil
}

func digits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// parseInt reads a decimal integer between least and most; only a minus sign may precede the digits.
func parseInt(flag, value string, least, most int64) (int64, error) {
	span := strconv.FormatInt(least, 10) + " to " + strconv.FormatInt(most, 10)
	d := strings.TrimPrefix(value, "-")
	if d == "" || !digits(d) {
		return 0, badValue(flag, value, "is not a whole number", "give one from "+span)
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < least || n > most {
		return 0, badValue(flag, value, "is out of range", "give a number from "+span)
	}
	return n, nil
}
