package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"gcr/internal/lifecycle"
)

// logger writes to the file of --log. Engines read the file as a whole, so it holds nothing but complete entries,
// and a failure leaves exactly one: warnings are kept back until the command has succeeded.
type logger struct {
	file, format string
	verbose      bool
	out          *os.File
	journal      *os.File
	kept         []string
}

func (l *logger) open() error {
	switch l.format {
	case "text", "json", "":
	case "journald":
		return l.dialJournal()
	default:
		return usageError{fmt.Errorf("unknown log-format %q", l.format)}
	}
	if id, ok := strings.CutPrefix(l.file, "journald:"); ok {
		l.file = id
		return l.dialJournal()
	}
	if l.file == "" {
		return nil
	}
	f, err := os.OpenFile(l.file, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_SYNC, 0o644)
	if err != nil {
		l.file = ""
		return fmt.Errorf("open log: %w", err)
	}
	l.out = f
	return nil
}

// dialJournal connects to systemd's journal.
func (l *logger) dialJournal() error {
	conn, err := lifecycle.DialJournal()
	if err != nil {
		return fmt.Errorf("open log: connect to the journal: %w", err)
	}
	l.journal = conn
	return nil
}

// warn keeps a warning until the end.
func (l *logger) warn(text string) { l.kept = append(l.kept, text) }

// flush writes the warnings after success. Without a log file they go to standard error, unless an engine reads it:
// on a terminal, or when they were asked for.
func (l *logger) flush() {
	for _, text := range l.kept {
		switch {
		case l.out != nil || l.journal != nil:
			l.entry("warning", text)
		case l.verbose || isTerminal(os.Stderr):
			os.Stderr.WriteString(line("text", "warning", text))
		}
	}
}

func (l *logger) entry(level, text string) {
	switch {
	case l.journal != nil:
		priority := map[string]int{"error": 3, "warning": 4}[level]
		// The first part before a line break is the message; there are none in ours.
		_, _ = fmt.Fprintf(l.journal, "PRIORITY=%d\nSYSLOG_IDENTIFIER=gcrun\nID=%s\nMESSAGE=%s\n", priority, l.file, strings.ReplaceAll(text, "\n", " "))
	case l.out != nil:
		_, _ = l.out.WriteString(line(l.format, level, text))
	}
}

func line(format, level, text string) string {
	now := time.Now().Format(time.RFC3339)
	if format == "json" {
		b, err := json.Marshal(struct {
			Level string `json:"level"`
			Msg   string `json:"msg"`
			Time  string `json:"time"`
		}{level, text, now})
		if err == nil {
			return string(b) + "\n"
		}
	}
	return fmt.Sprintf("time=%q level=%s msg=%q\n", now, level, text)
}

// fail reports an error in one write to each place and returns the exit status.
func fail(g *globals, err error) int {
	text := message(err)
	if g.log.out != nil || g.log.journal != nil {
		g.log.entry("error", text)
		os.Stderr.WriteString(text + "\n")
		return exitFailure
	}
	os.Stderr.WriteString(line("text", "error", text))
	return exitFailure
}

func message(err error) string {
	var u usageError
	if errors.As(err, &u) {
		return u.Error()
	}
	return err.Error()
}
