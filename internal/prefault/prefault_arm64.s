#include "textflag.h"

// func madvise(addr, length, advice uintptr) int
TEXT ·madvise(SB), NOSPLIT, $0-32
	MOVD addr+0(FP), R0
	MOVD length+8(FP), R1
	MOVD advice+16(FP), R2
	MOVD $233, R8 // SYS_MADVISE
	SVC
	MOVD R0, ret+24(FP)
	RET

// func text() (start, end uintptr)
TEXT ·text(SB), NOSPLIT, $0-16
	MOVD $runtime·text(SB), R0
	MOVD R0, start+0(FP)
	MOVD $runtime·etext(SB), R0
	MOVD R0, end+8(FP)
	RET
