#include "textflag.h"

// handler gets the signal's number in DI and is called as a C function, on the signal stack. It writes the number,
// whose lowest byte comes first, and returns to the restorer. All registers are the kernel's to restore.
TEXT ·handler(SB), NOSPLIT|NOFRAME, $0
	PUSHQ DI
	MOVQ  ·pipe(SB), DI
	MOVQ  SP, SI
	MOVL  $1, DX
	MOVL  $1, AX // write
	SYSCALL
	POPQ  DI
	RET

TEXT ·restorer(SB), NOSPLIT|NOFRAME, $0
	MOVL $15, AX // rt_sigreturn
	SYSCALL
	INT  $3

// func handlerPC() uintptr
TEXT ·handlerPC(SB), NOSPLIT, $0-8
	MOVQ $·handler(SB), AX
	MOVQ AX, ret+0(FP)
	RET

// func restorerPC() uintptr
TEXT ·restorerPC(SB), NOSPLIT, $0-8
	MOVQ $·restorer(SB), AX
	MOVQ AX, ret+0(FP)
	RET
