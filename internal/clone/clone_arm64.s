#include "go_asm.h"
#include "textflag.h"

// LOAD fetches the call that R19 points to.
#define LOAD \
	MOVD 0(R19), R8  \
	MOVD 8(R19), R0  \
	MOVD 16(R19), R1 \
	MOVD 24(R19), R2 \
	MOVD 32(R19), R3 \
	MOVD 40(R19), R4 \
	MOVD 48(R19), R5

// func rawClone(r *raw)
//
// The child continues with the parent's stack pointer while the parent uses that stack, so it must not touch
// it: everything it needs is in registers.
TEXT ·rawClone(SB), NOSPLIT, $0-8
	MOVD r+0(FP), R22

	MOVD $2, R0 // SIG_SETMASK
	ADD  $raw_all, R22, R1
	ADD  $raw_old, R22, R2
	MOVD $8, R3
	MOVD $135, R8 // rt_sigprocmask
	SVC

	MOVD raw_enter(R22), R19
	MOVD raw_entries(R22), R20

enter:
	CBZ  R20, clone
	LOAD
	SVC
	CMN  $4095, R0 // errors are -4095 to -1
	BHS  refused
	ADD  $56, R19
	SUB  $1, R20
	JMP  enter

clone:
	MOVD raw_table(R22), R19
	MOVD raw_n(R22), R20
	MOVD raw_failed(R22), R21
	MOVD raw_args(R22), R0
	MOVD raw_size(R22), R1
	MOVD $435, R8 // clone3
	SVC
	CBZ  R0, child

	B    cloned

refused:
	MOVD R20, raw_left(R22)

cloned:
	MOVD R0, raw_result(R22)
	MOVD raw_leave(R22), R19
	MOVD raw_leaves(R22), R20

leave:
	CBZ  R20, done
	LOAD
	SVC
	CMN  $4095, R0
	BHS  lost
	ADD  $56, R19
	SUB  $1, R20
	JMP  leave

lost:
	MOVD R0, raw_lost(R22)

done:
	MOVD $2, R0
	ADD  $raw_old, R22, R1
	MOVD $0, R2
	MOVD $8, R3
	MOVD $135, R8
	SVC
	RET

child:
	CBZ  R20, exit
	LOAD
	SVC
	CMN  $4095, R0
	BHS  fail
	ADD  $56, R19
	SUB  $1, R20
	JMP  child

fail:
	MOVD R20, 8(R21)
	MOVD R0, 0(R21)

exit:
	MOVD $125, R0
	MOVD $94, R8 // exit_group
	SVC
	BRK
