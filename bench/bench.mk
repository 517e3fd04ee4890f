# make bench          measure everything (about half an hour; needs root)
# make bench BENCH=quick   the main figures, in less than two minutes
#
# CRUN=, RUNC= and YOUKI= name other binaries of these runtimes; peers that are missing are installed from
# Debian's packages. Results go to docs/bench/.
BENCH ?= full
.PHONY: bench
bench: ## measure side by side with crun, runc and others (as root; half an hour, or BENCH=quick)
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o build/gcr .
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o build/gcrun ./gcrun
	go build -o build/bench ./bench
	CRUN=$(CRUN) RUNC=$(RUNC) YOUKI=$(YOUKI) build/bench -mode $(BENCH) -gcr build/gcr -gcrun build/gcrun -floor bench/floor/floor.c -out docs/bench
