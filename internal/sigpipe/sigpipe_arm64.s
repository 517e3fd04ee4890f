#include "textflag.h"

// handler gets the signal's number in R0 and is called as a C function, on the signal stack. It writes the number,
// whose lowest byte comes first, and returns to where the kernel says. R27 is the assembler's own; all registers are
// the kernel's to restore.
TEXT ·handler(SB), NOSPLIT|NOFRAME, $0
	SUB  $16, RSP
	MOVD R0, (RSP)
	MOVD ·pipe(SB), R0
	MOVD RSP, R1
	MOVD $1, R2
	MOVD $64, R8 // write
	SVC
	ADD  $16, RSP
	RET

TEXT ·restorer(SB), NOSPLIT|NOFRAME, $0
	MOVD $139, R8 // rt_sigreturn
	SVC
	BRK

// func handlerPC() uintptr
TEXT ·handlerPC(SB), NOSPLIT, $0-8
	MOVD $·handler(SB), R0
	MOVD R0, ret+0(FP)
	RET

// func restorerPC() uintptr
TEXT ·restorerPC(SB), NOSPLIT, $0-8
	MOVD $·restorer(SB), R0
	MOVD R0, ret+0(FP)
	RET
