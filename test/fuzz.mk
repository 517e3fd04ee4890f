# Fuzzing, see test/fuzz.sh.

.PHONY: fuzz
fuzz: ## fuzz every parser for FUZZTIME each (default 60s; FUZZTIME=2s for a short run)
	FUZZTIME=$(or $(FUZZTIME),60s) test/fuzz.sh $(FUZZ)
