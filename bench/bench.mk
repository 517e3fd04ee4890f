# make bench               measure everything (20 to 40 minutes on a quiet machine; needs root)
# make bench BENCH=quick   the main figures, in about two minutes
# make bench-peers         current releases of runc and crun, and how to have them measured
#
# CRUN=, RUNC= and YOUKI= name other binaries of these runtimes; peers that are missing are installed from
# Debian's packages. Docker is measured where its daemon answers; bench/with-docker.sh make bench starts one.
# Results go to docs/bench/.
BENCH ?= full
.PHONY: bench bench-peers
bench: ## measure side by side with crun, runc and others (as root; 20 minutes, or BENCH=quick)
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o build/gcr .
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o build/gcrun ./gcrun
	go build -o build/bench ./bench
	CRUN=$(CRUN) RUNC=$(RUNC) YOUKI=$(YOUKI) build/bench -mode $(BENCH) -gcr build/gcr -gcrun build/gcrun -floor bench/floor/floor.c -out docs/bench

bench-peers: ## get current releases of runc and crun to measure (PEERS=DIRECTORY)
	bench/peers.sh $(PEERS)
