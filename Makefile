# Thin: every target is one script. `make run` and `make test` are all a newcomer needs.
.PHONY: all run test test-long bench fuzz format clean
all:
	@scripts/build
run:
	@scripts/run
test:
	@scripts/test
test-long:
	@scripts/test --long
bench:
	@scripts/bench
fuzz:
	@scripts/fuzz
format:
	@git ls-files '*.c' '*.h' | xargs clang-format-14 -i
clean:
	rm -rf build build-*
