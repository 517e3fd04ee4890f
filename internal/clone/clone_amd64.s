#include "go_asm.h"
#include "textflag.h"

// LOAD fetches the call that R12 points to.
#define LOAD \
	MOVQ 0(R12), AX   \
	MOVQ 8(R12), DI   \
	MOVQ 16(R12), SI  \
	MOVQ 24(R12), DX  \
	MOVQ 32(R12), R10 \
	MOVQ 40(R12), R8  \
	MOVQ 48(R12), R9

// func rawClone(r *raw)
//
// The child continues with the parent's stack pointer while the parent uses that stack, so it must not touch
// it: everything it needs is in registers that the SYSCALL instruction preserves.
TEXT ·rawClone(SB), NOSPLIT, $0-8
	MOVQ r+0(FP), BX

	MOVL $2, DI // SIG_SETMASK
	LEAQ raw_all(BX), SI
	LEAQ raw_old(BX), DX
	MOVL $8, R10
	MOVL $14, AX // rt_sigprocmask
	SYSCALL

	MOVQ raw_enter(BX), R12
	MOVQ raw_entries(BX), R13

enter:
	TESTQ R13, R13
	JZ    clone
	LOAD
	SYSCALL
	CMPQ  AX, $0xfffffffffffff001 // errors are -4095 to -1
	JCC   refused
	ADDQ  $56, R12
	DECQ  R13
	JMP   enter

clone:
	MOVQ  raw_table(BX), R12
	MOVQ  raw_n(BX), R13
	MOVQ  raw_failed(BX), R9
	MOVQ  raw_args(BX), DI
	MOVQ  raw_size(BX), SI
	MOVL  $435, AX // clone3
	SYSCALL
	TESTQ AX, AX
	JNZ   cloned
	MOVQ  R9, BX
	JMP   child

refused:
	MOVQ R13, raw_left(BX)

cloned:
	MOVQ AX, raw_result(BX)
	MOVQ raw_leave(BX), R12
	MOVQ raw_leaves(BX), R13

leave:
	TESTQ R13, R13
	JZ    done
	LOAD
	SYSCALL
	CMPQ  AX, $0xfffffffffffff001
	JCC   lost
	ADDQ  $56, R12
	DECQ  R13
	JMP   leave

lost:
	MOVQ AX, raw_lost(BX)

done:
	MOVL $2, DI
	LEAQ raw_old(BX), SI
	XORL DX, DX
	MOVL $8, R10
	MOVL $14, AX
	SYSCALL
	RET

child:
	TESTQ R13, R13
	JZ    exit
	LOAD
	SYSCALL
	CMPQ  AX, $0xfffffffffffff001
	JCC   fail
	ADDQ  $56, R12
	DECQ  R13
	JMP   child

fail:
	MOVQ R13, 8(BX)
	MOVQ AX, 0(BX)

exit:
	MOVL $125, DI
	MOVL $231, AX // exit_group
	SYSCALL
	INT  $3
