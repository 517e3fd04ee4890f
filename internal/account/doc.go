// Package account reads what a person or an image says about users and groups: numeric ids, the
// USER[:GROUP] of a command line, /etc/passwd and /etc/group of a root filesystem, and the
// subordinate id ranges of /etc/subuid and /etc/subgid.
//
// It is the only parser of ids in GCR. Every input comes from someone who may be an attacker (an
// image's passwd file, an image's User field), so the parsers take bytes, never open a file, accept
// exactly what they document, and bound what they read.
//
//	spec, err := account.ParseSpec("www-data:1000")
//	who, err := account.Resolve(spec, passwd, group)
//	// who.UID, who.GID, who.Groups, who.Home, who.Shell
package account
