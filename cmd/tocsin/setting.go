package main

import (
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/multiformats/go-multiaddr"
	"github.com/spf13/pflag"

	"tocsin/mesh"
	"tocsin/node"
)

// The settings by key, as they stand in the configuration file. The variable
// of a key is TOCSIN_ and the key in capitals, with dots as underscores.
const (
	keyData       = "data_dir"
	keyPassphrase = "passphrase_file"
	keyListen     = "mesh.listen"
	keyPeers      = "mesh.peers"
	keyVia        = "mesh.via"
	keyRelay      = "mesh.relay"
	keyAnnounce   = "mesh.announce"
	keyDHT        = "mesh.dht"
	keyMDNS       = "mesh.mdns"
	keyThrift     = "mesh.low_bandwidth"
	keyAPI        = "api.listen"
	keyIdleLock   = "lock.idle"
	keyLogLevel   = "log.level"
	keyLogFile    = "log.file"
)

// kind is the type of a setting.
type kind uint8

const (
	textKind kind = iota // one string
	listKind             // strings; in a variable separated by commas
	boolKind             // true or false
)

func (k kind) String() string { return [...]string{"text", "list", "true or false"}[k] }

// scope says which commands take a setting as a flag.
type scope uint8

const (
	everywhere scope = iota
	upOnly           // up, and config explain, which tells what up would do
)

// setting describes one setting. The table in settings is the only place that
// knows a key, its flag, its default and its rule.
type setting struct {
	key   string
	flag  string
	usage string
	kind  kind
	scope scope
	def   func(environment) ([]string, error)
	check func(items []string) error // nil: everything is allowed
}

// variable returns the environment variable of s.
func (s setting) variable() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

func settings() []setting {
	return append([]setting{
		{keyData, "data", "data `directory` of this node", textKind, everywhere,
			func(e environment) ([]string, error) { return one(e.dataDir("tocsin")) }, nil},
		{keyPassphrase, "passphrase-file", "read the passphrase from the first line of this `file`", textKind, everywhere,
			fixed(), nil},
		{keyListen, "listen", "`address` for other devices to connect to, as a multiaddr (may be repeated); none means every interface, any free port", listKind, upOnly,
			fixed(), each(checkListen)},
		{keyPeers, "peer", "`address` of a device to connect to, as a multiaddr that ends in /p2p/<peer id> (may be repeated)", listKind, upOnly,
			fixed(), each(checkPeer)},
		{keyVia, "via", "`address` of a relay to be reached through, written like --peer (may be repeated); relays that are met are used too", listKind, upOnly,
			fixed(), each(checkPeer)},
		{keyRelay, "relay", "carry the connections of other devices of this mesh, which it cannot read", boolKind, upOnly,
			fixed("false"), nil},
		{keyAnnounce, "announce", "`address` to tell others beside this machine's own, as a multiaddr (may be repeated): for a router that forwards a port", listKind, upOnly,
			fixed(), each(checkAnnounce)},
		{keyDHT, "dht", "use the directory of devices: auto (in meshes of 100 or more), on or off", textKind, upOnly,
			fixed(mesh.DHTAuto), each(checkDHT)},
		{keyMDNS, "mdns", "find devices on the local network by multicast DNS", boolKind, upOnly,
			fixed("true"), nil},
		{keyThrift, "low-bandwidth", "fetch headers and urgent messages only: auto (while all lines are bad), on or off", textKind, upOnly,
			fixed(node.ThriftAuto), each(checkThrift)},
		{keyAPI, "api", "loopback `address` of the web app and the local API", textKind, upOnly,
			fixed("127.0.0.1:4748"), each(checkLoopback)},
		{keyIdleLock, "idle-lock", "lock after so long without a touch, such as 5m; never for a machine that only relays", textKind, upOnly,
			fixed("5m"), each(checkIdle)},
		{keyLogLevel, "log-level", "how much is logged: debug, info, warn or error", textKind, upOnly,
			fixed("info"), each(checkLevel)},
		{keyLogFile, "log-file", "append the log to this `file` instead of standard error", textKind, upOnly,
			fixed(), nil},
	}, slices.Concat(attachmentSettings(), carrySettings(), recordSettings(), keepingSettings())...)
}

func fixed(items ...string) func(environment) ([]string, error) {
	return func(environment) ([]string, error) { return items, nil }
}

func one(s string, err error) ([]string, error) { return []string{s}, err }

func each(check func(string) error) func([]string) error {
	return func(items []string) error {
		for _, item := range items {
			if err := check(item); err != nil {
				return err
			}
		}
		return nil
	}
}

func checkListen(s string) error {
	if _, err := multiaddr.NewMultiaddr(s); err != nil {
		return fail(exitInput, "Write an address such as /ip4/0.0.0.0/udp/4747/quic-v1, /ip4/192.0.2.7/tcp/4747 or /ip4/0.0.0.0/tcp/4751/ws.",
			"%q is no address to listen on: %w", s, err)
	}
	return nil
}

func checkPeer(s string) error {
	if _, err := peer.AddrInfoFromString(s); err != nil {
		return fail(exitInput, "Copy an address from 'tocsin status' on the other device; it ends in /p2p/ and its peer id.",
			"%q is no address of a device: %w", s, err)
	}
	return nil
}

func checkAnnounce(s string) error {
	const next = "Write an address such as /ip4/192.0.2.7/tcp/4747, without /p2p/."
	a, err := multiaddr.NewMultiaddr(s)
	if err != nil {
		return fail(exitInput, next, "%q is no address to announce: %w", s, err)
	}
	if _, id := peer.SplitAddr(a); id != "" {
		return fail(exitInput, next, "%q is no address to announce: it names a device", s)
	}
	return nil
}

func checkDHT(s string) error {
	switch s {
	case mesh.DHTAuto, mesh.DHTOn, mesh.DHTOff:
		return nil
	}
	return fail(exitInput, "Choose auto, on or off.", "%q does not say when to use the directory of devices", s)
}

func checkThrift(s string) error {
	switch s {
	case node.ThriftAuto, node.ThriftOn, node.ThriftOff:
		return nil
	}
	return fail(exitInput, "Choose auto, on or off.", "%q does not say when to fetch headers and urgent messages only", s)
}

func checkLoopback(s string) error {
	const next = "Write a loopback address with a port, such as 127.0.0.1:4748. Port 0 takes any free port."
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fail(exitInput, next, "%q is no address with a port", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fail(exitInput, next, "%q is no port", port)
	}
	if addr, err := netip.ParseAddr(host); err != nil || !addr.IsLoopback() {
		return fail(exitInput, next, "the web app is served on this machine only, and %q is not a loopback address", host)
	}
	return nil
}

// parseIdle reads how long a device stays unlocked without a touch; below 0 means
// for ever.
func parseIdle(s string) (time.Duration, bool) {
	if s == "never" {
		return -1, true
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 30*time.Second && d <= 24*time.Hour
}

func checkIdle(s string) error {
	if _, ok := parseIdle(s); !ok {
		return fail(exitInput, "Write a time from 30s to 24h, such as 5m, or never.", "%q is no time after which to lock", s)
	}
	return nil
}

func parseLevel(s string) (slog.Level, bool) {
	switch s {
	case "debug":
		return slog.LevelDebug, true
	case "info":
		return slog.LevelInfo, true
	case "warn":
		return slog.LevelWarn, true
	case "error":
		return slog.LevelError, true
	}
	return 0, false
}

func checkLevel(s string) error {
	if _, ok := parseLevel(s); !ok {
		return fail(exitInput, "Choose debug, info, warn or error.", "%q is no log level", s)
	}
	return nil
}

// settingFlag is a flag that stands for a setting. It keeps what was typed; the
// rules are applied with all layers together.
type settingFlag struct {
	setting
	items []string
	given bool
}

func newSettingFlags() map[string]*settingFlag {
	m := make(map[string]*settingFlag)
	for _, s := range settings() {
		m[s.key] = &settingFlag{setting: s}
	}
	return m
}

// Set implements pflag.Value.
func (f *settingFlag) Set(s string) error {
	if f.kind != listKind {
		f.items = nil
	}
	f.items = append(f.items, s)
	f.given = true
	return nil
}

func (f *settingFlag) String() string { return strings.Join(f.items, ",") }

// Type implements pflag.Value; "bool" is what lets --mdns stand alone.
func (f *settingFlag) Type() string {
	if f.kind == boolKind {
		return "bool"
	}
	return "string"
}

func (a *app) addSettingFlags(flags *pflag.FlagSet, sc scope) {
	for _, s := range settings() {
		if s.scope != sc {
			continue
		}
		flag := flags.VarPF(a.flags[s.key], s.flag, "", s.usage)
		if s.kind == boolKind {
			flag.NoOptDefVal = "true"
		}
	}
}
