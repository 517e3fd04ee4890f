#include "textflag.h"

// func rawClone(args *cloneArgs, size uintptr, table *Call, n uintptr, failed *[2]int64) int64
//
// The child continues with the parent's stack pointer while the parent uses that stack, so it must not touch
// it: everything it needs is in registers that the SYSCALL instruction preserves.
TEXT ·rawClone(SB), NOSPLIT, $0-48
	MOVQ table+16(FP), R12
	MOVQ n+24(FP), R13
	MOVQ failed+32(FP), BX
	MOVQ args+0(FP), DI
	MOVQ size+8(FP), SI
	MOVL $435, AX // clone3
	SYSCALL
	TESTQ AX, AX
	JZ   child
	MOVQ AX, ret+40(FP)
	RET

child:
	TESTQ R13, R13
	JZ   exit
	MOVQ 0(R12), AX
	MOVQ 8(R12), DI
	MOVQ 16(R12), SI
	MOVQ 24(R12), DX
	MOVQ 32(R12), R10
	MOVQ 40(R12), R8
	MOVQ 48(R12), R9
	SYSCALL
	CMPQ AX, $0xfffffffffffff001 // errors are -4095 to -1
	JCC  fail
	ADDQ $56, R12
	DECQ R13
	JMP  child

fail:
	MOVQ R13, 8(BX)
	MOVQ AX, 0(BX)

exit:
	MOVL $125, DI
	MOVL $231, AX // exit_group
	SYSCALL
	INT  $3
