# mysqlha: `make` lists the targets. Needs Go, git and make; MySQL is found or fetched by deploy/mysqld/fetch.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

# The module proxy alone, without a "direct" after it: where only the proxy can be reached, "direct" hangs.
GOPROXY := $(shell GOTOOLCHAIN=local go env GOPROXY | sed 's/[,|].*//')
GOFLAGS := -buildvcs=false
GOTOOLCHAIN := local
export GOPROXY GOFLAGS GOTOOLCHAIN

# bench-failover, bench-rejoin: how many; what the faults are drawn from; the servers to use; what befalls the primary. Empty: its own default.
N := 20
SEED :=
POOL :=
FAULT := kill

# simulate: how many events for the judgement, and the first seed.
STEPS := 2000000

# demo: anything to have it stay up, with its status page.
STAY :=

# infra-orders: how many.
ORDERS := 1000

# infra-drills: which; empty: all. How long each harm lasts at least, such as 1m.
DRILLS :=
HOLD :=

# infra-bundle: the description of the site; the folder of its authority, and the one to make, both beside it by default; the hosts' architecture; what else infra bundle is told.
SITE := site.yaml
PKI := $(dir $(SITE))pki
OUT := $(dir $(SITE))bundle
ARCH :=
MORE :=

# soak, calm: for how long.
MINUTES := 60

.PHONY: help build packages check-packages mysqld vet unit integration test check-security check-monitoring simulate faults soak calm demo bench-failover bench-rejoin bench-switchover infra infra-status infra-orders infra-down check-reference infra-drills infra-bundle check-hosts clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

build: ## build bin/mysqlhad and bin/mysqlha
	go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/mysqlhad ./cmd/mysqlha

packages: ## build bin/packages: deb and rpm of both programs, for amd64 and arm64
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) go run ./deploy/packages -version $(VERSION) -out bin/packages

mysqld: ## find or fetch a mysqld and print its path
	@deploy/mysqld/fetch

vet: ## go vet and staticcheck
	go vet ./...
	go vet -tags security,monitoring,packages,reference ./integration ./deploy/...
	go run $(STATICCHECK) ./...

unit: ## all tests that need no mysqld, with the race detector
	packages=$$(go list ./... | grep -v '/integration\(/\|$$\)'); go test -race $$packages

# A failing fetch ends the recipe: without mysqld these tests fail, they are not skipped.
integration: ## the tests against real mysqld and etcd
	mysqld=$$(deploy/mysqld/fetch); MYSQLD=$$mysqld go test -count=1 -timeout 40m ./integration/...

test: ## vet, unit and integration
	@$(MAKE) --no-print-directory vet
	@$(MAKE) --no-print-directory unit
	@$(MAKE) --no-print-directory integration

check-security: ## attackers, captures on every link, rotation, firewalls, units, secrets (root, iproute2, nftables, tcpdump, systemd)
	@command -v tcpdump >/dev/null && [ -x /lib/systemd/systemd ] || { echo "tcpdump and systemd are needed: apt-get install tcpdump systemd" >&2; exit 1; }
	mysqld=$$(deploy/mysqld/fetch); MYSQLD=$$mysqld go test -count=1 -tags security -timeout 20m -v \
	  -run 'TestSecurity|TestTheAuthorityIsReplaced|TestPasswordsAreReplaced|TestThePorts|TestAFlood|TestNobodyLocks|TestTheRulesFollow' ./integration | grep -v -e '^=== ' -e 'sandbox: '

check-monitoring: ## the rules by promtool, the routing by amtool, and a real Prometheus, Alertmanagers and a browser that watch a failover (chromium; the rest is fetched)
	@command -v curl >/dev/null && command -v chromium >/dev/null || { echo "curl and chromium are needed: apt-get install curl chromium" >&2; exit 1; }
	go test -count=1 -tags monitoring ./metrics ./deploy/prometheus ./deploy/alertmanager ./deploy/grafana
	mysqld=$$(deploy/mysqld/fetch); MYSQLD=$$mysqld go test -count=1 -tags monitoring -timeout 20m -v -run TestMonitoring ./integration | grep -v -e '^=== ' -e 'sandbox: '

check-packages: ## install, run, upgrade and purge the packages in a Debian of their own, and have lintian and rpm judge them (root, debootstrap, lintian, rpm, shellcheck, systemd)
	@for need in debootstrap lintian rpm shellcheck curl; do command -v $$need >/dev/null || { echo "$$need is needed: apt-get install debootstrap lintian rpm shellcheck curl systemd" >&2; exit 1; }; done
	mysqld=$$(deploy/mysqld/fetch); MYSQLD=$$mysqld go test -count=1 -tags packages -timeout 20m -v -skip TestHosts ./deploy/packages | grep -v '^=== '

simulate: ## random schedules against the write contract, and the rules broken on purpose: STEPS=2000000 SEED=
	SIMULATE_STEPS=$(STEPS) $(if $(SEED),SIMULATE_SEED=$(SEED)) go test -count=1 -v -timeout 30m \
	  -run 'TestNoScheduleBreaksTheContract|TestEveryBrokenRuleIsCaught' ./orchestrator/decide | grep -v -e '^=== ' -e '^    --- PASS'

faults: build ## every kind of fault once, on real servers in networks of their own (root, iproute2, nftables): SEED=
	mysqld=$$(deploy/mysqld/fetch); MYSQLD=$$mysqld go run ./integration/soak -rounds 1 $(if $(SEED),-seed $(SEED))

soak: build ## random faults for MINUTES=60 SEED=, likewise
	mysqld=$$(deploy/mysqld/fetch); MYSQLD=$$mysqld go run ./integration/soak -minutes $(MINUTES) $(if $(SEED),-seed $(SEED))

calm: build ## full load of 64 clients for MINUTES= without any fault, in which nothing may be moved
	mysqld=$$(deploy/mysqld/fetch); MYSQLD=$$mysqld go run ./integration/soak -calm -writers 64 -minutes $(MINUTES)

demo: build ## a cluster on this machine that loses its primary before your eyes: STAY=1 (and its status page)
	mysqld=$$(deploy/mysqld/fetch); MYSQLD=$$mysqld bin/mysqlha sandbox demo $(if $(STAY),--stay)

bench-failover: build ## measure failovers: N=20 SEED= POOL= FAULT=kill|stop
	mysqld=$$(deploy/mysqld/fetch); MYSQLD=$$mysqld go run ./integration/benchfailover \
	  -n $(N) -fault $(FAULT) $(if $(SEED),-seed $(SEED)) $(if $(POOL),-pool $(POOL))

bench-rejoin: build ## measure how a lost primary comes back: N=50 FAULT=kill|partition|stop (root, iproute2, nftables)
	mysqld=$$(deploy/mysqld/fetch); MYSQLD=$$mysqld go run ./integration/benchrejoin -n $(N) -fault $(FAULT)

bench-switchover: build ## measure how long writes stop in a planned switchover: N=20
	mysqld=$$(deploy/mysqld/fetch); MYSQLD=$$mysqld go run ./integration/benchswitchover -n $(N)

# The programs of the reference site, and ours.
REFERENCE := go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/mysqlhad ./cmd/mysqlha ./deploy/reference/shop ./deploy/reference/infra

infra: ## a whole site on this machine: balancers, web, application, database, monitoring (root; docs/reference.md)
	@$(REFERENCE)
	@programs=$$(deploy/reference/fetch); mysqld=$$(deploy/mysqld/fetch); MYSQLD=$$mysqld bin/infra up --programs $$programs

infra-status: ## each host of the site, its programs and its health
	@$(REFERENCE)
	@bin/infra status

infra-orders: ## customers order there: ORDERS=1000, 0 goes on until Ctrl-C; is each order there once?
	@$(REFERENCE)
	@bin/infra orders --orders $(ORDERS)

infra-drills: ## break the site in one way after the other under orders: DRILLS="balancer primary db-tier" HOLD=1m
	@$(REFERENCE)
	@bin/infra drills $(if $(HOLD),--hold $(HOLD)) $(DRILLS)

infra-down: ## stop and remove the site, or what is left of one
	@$(REFERENCE)
	@bin/infra down

check-reference: ## the site is brought up, looked at, attacked, broken under orders, and taken down (root, iproute2, nftables, tcpdump, curl)
	@$(REFERENCE)
	@command -v tcpdump >/dev/null && command -v curl >/dev/null || { echo "tcpdump and curl are needed: apt-get install tcpdump curl" >&2; exit 1; }
	programs=$$(deploy/reference/fetch); mysqld=$$(deploy/mysqld/fetch); REFERENCE_PROGRAMS=$$programs MYSQLD=$$mysqld go test -count=1 -tags reference -timeout 40m -v \
	  -run TestReference ./integration | grep -v -e '^=== '

infra-bundle: ## what each host of a site of real hosts gets, and what installs it: SITE=site.yaml PKI= OUT= ARCH= MORE= (docs/site.md)
	@rm -rf bin/bundle
	@go build -trimpath -ldflags '-X main.version=$(VERSION)' -o bin/ ./cmd/mysqlha ./deploy/reference/infra
	@arch=$(or $(ARCH),$$(go env GOARCH)); CGO_ENABLED=0 GOOS=linux GOARCH=$$arch go build -trimpath -ldflags '-s -w' -o bin/bundle/shop ./deploy/reference/shop; \
	  SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) go run ./deploy/packages -version $(VERSION) -arch $$arch -out bin/bundle >/dev/null; \
	  bin/infra bundle --site $(SITE) --pki $(PKI) --out $(OUT) --packages bin/bundle --shop bin/bundle/shop --arch $$arch $(MORE)

check-hosts: ## ten machines with a systemd of their own become a site by its bundle, and lose a primary under orders (root, debootstrap, iproute2, nftables, ssh, curl; about 5 minutes, 6 GB of memory)
	@for need in debootstrap nft ssh ssh-keygen curl; do command -v $$need >/dev/null || { echo "$$need is needed: apt-get install debootstrap nftables iproute2 openssh-client curl" >&2; exit 1; }; done
	mysqld=$$(deploy/mysqld/fetch); MYSQLD=$$mysqld go test -count=1 -tags packages -timeout 30m -v -run TestHosts ./deploy/packages | grep -v '^=== '

clean: ## remove what was built (a fetched mysqld stays in its cache)
	rm -rf bin
