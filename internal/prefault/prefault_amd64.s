#include "textflag.h"

// func madvise(addr, length, advice uintptr) int
TEXT ·madvise(SB), NOSPLIT, $0-32
	MOVQ addr+0(FP), DI
	MOVQ length+8(FP), SI
	MOVQ advice+16(FP), DX
	MOVL $28, AX // SYS_MADVISE
	SYSCALL
	MOVQ AX, ret+24(FP)
	RET

// func text() (start, end uintptr)
TEXT ·text(SB), NOSPLIT, $0-16
	MOVQ $runtime·text(SB), AX
	MOVQ AX, start+0(FP)
	MOVQ $runtime·etext(SB), AX
	MOVQ AX, end+8(FP)
	RET
