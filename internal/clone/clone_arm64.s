#include "textflag.h"

// func rawClone(args *cloneArgs, size uintptr, table *Call, n uintptr, failed *[2]int64) int64
//
// The child continues with the parent's stack pointer while the parent uses that stack, so it must not touch
// it: everything it needs is in registers.
TEXT ·rawClone(SB), NOSPLIT, $0-48
	MOVD table+16(FP), R19
	MOVD n+24(FP), R20
	MOVD failed+32(FP), R21
	MOVD args+0(FP), R0
	MOVD size+8(FP), R1
	MOVD $435, R8 // clone3
	SVC
	CBZ  R0, child
	MOVD R0, ret+40(FP)
	RET

child:
	CBZ  R20, exit
	MOVD 0(R19), R8
	MOVD 8(R19), R0
	MOVD 16(R19), R1
	MOVD 24(R19), R2
	MOVD 32(R19), R3
	MOVD 40(R19), R4
	MOVD 48(R19), R5
	SVC
	CMN  $4095, R0 // errors are -4095 to -1
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
