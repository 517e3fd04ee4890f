# The museum of attacks, see package attacks.

.PHONY: attacks
attacks: ## show that known attacks work against weakened runs, and not against the defaults (root)
	@mkdir -p $(BUILD)
	@rm -f $(BUILD)/attacks.txt
	@GCR_MUSEUM_TABLE=$(abspath $(BUILD))/attacks.txt $(GO) test -count=1 -run TestMuseum ./test/attacks; status=$$?; \
	if [ -f $(BUILD)/attacks.txt ]; then cat $(BUILD)/attacks.txt; fi; exit $$status
