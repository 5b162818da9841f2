package api

import (
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"tocsin/node"
)

// stats counts requests by route and outcome. No label names a person, a patient, a peer or a group.
type stats struct {
	requests *prometheus.CounterVec
	failures *prometheus.CounterVec
	refusals *prometheus.CounterVec

	once    sync.Once
	handler http.Handler
}

func newStats() *stats {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "tocsin", Subsystem: "api", Name: name, Help: help}, labels)
	}
	return &stats{
		requests: vec("requests_total", "Requests that were let in, by route.", "route"),
		failures: vec("failures_total", "Requests answered with an error, by route and its code.", "route", "code"),
		refusals: vec("refusals_total", "Requests that were not let in, by reason.", "reason"),
	}
}

func (s *stats) request(route string)      { s.requests.WithLabelValues(route).Inc() }
func (s *stats) failed(route, code string) { s.failures.WithLabelValues(route, code).Inc() }
func (s *stats) refused(reason string)     { s.refusals.WithLabelValues(reason).Inc() }

func (s *Server) getMetrics(w http.ResponseWriter, r *http.Request) error {
	s.stats.once.Do(func() {
		reg := prometheus.NewRegistry()
		reg.MustRegister(s.stats.requests, s.stats.failures, s.stats.refusals, &nodeCollector{s.cfg.Node},
			collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		s.stats.handler = promhttp.HandlerFor(reg, promhttp.HandlerOpts{})
	})
	s.stats.handler.ServeHTTP(w, r)
	return nil
}

// nodeCollector reads the node's own counters when they are asked for.
type nodeCollector struct{ node Node }

// refusedDesc counts by reason: a small fixed set of words without content.
func refusedDesc() *prometheus.Desc {
	return prometheus.NewDesc("tocsin_mesh_refused_total", "Connections that were not admitted, by reason.", []string{"reason"}, nil)
}

type nodeMetric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(node.Metrics, node.Status) float64
}

func metric(name, help string, kind prometheus.ValueType, value func(node.Metrics, node.Status) float64) nodeMetric {
	return nodeMetric{prometheus.NewDesc("tocsin_"+name, help, nil, nil), kind, value}
}

func nodeMetrics() []nodeMetric {
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	count := func(name, help string, f func(node.Metrics) uint64) nodeMetric {
		return metric(name, help, counter, func(m node.Metrics, _ node.Status) float64 { return float64(f(m)) })
	}
	state := func(name, help string, f func(node.Status) float64) nodeMetric {
		return metric(name, help, gauge, func(_ node.Metrics, s node.Status) float64 { return f(s) })
	}
	return []nodeMetric{
		state("peers", "Devices connected to this one.", func(s node.Status) float64 { return float64(s.Peers) }),
		state("logs", "Logs held.", func(s node.Status) float64 { return float64(s.Logs) }),
		state("entries", "Entries held.", func(s node.Status) float64 { return float64(s.Entries) }),
		state("waiting", "Sealed messages for which no epoch is held yet.", func(s node.Status) float64 { return float64(s.Waiting) }),
		state("locked", "1 while the device is locked.", func(s node.Status) float64 { return truth(s.Locked) }),
		state("online", "1 while the mesh is switched on.", func(s node.Status) float64 { return truth(s.Online) }),
		state("problem", "1 while something keeps the device from its work; the status says what.", func(s node.Status) float64 { return truth(s.Problem != "") }),
		state("credential_not_after_seconds", "When the credential runs out, in seconds since 1970.", func(s node.Status) float64 { return float64(s.CredentialNotAfter.Unix()) }),
		count("entries_appended_total", "Entries saved from others.", func(m node.Metrics) uint64 { return m.Appended }),
		count("entries_known_total", "Entries received that were known already.", func(m node.Metrics) uint64 { return m.Known }),
		count("entries_penned_total", "Entries that wait for their author's credential.", func(m node.Metrics) uint64 { return m.Penned }),
		count("entries_forked_total", "Entries that proved a fork.", func(m node.Metrics) uint64 { return m.Forked }),
		count("entries_over_limit_total", "Entries beyond their author's budget.", func(m node.Metrics) uint64 { return m.OverLimit }),
		count("entries_refused_total", "Entries that failed verification.", func(m node.Metrics) uint64 { return m.Refused }),
		count("entries_proved_total", "Entries saved by a checkpoint, to have their own signatures checked afterwards.", func(m node.Metrics) uint64 { return m.Proved }),
		count("entries_checked_total", "Signatures of such entries that were checked.", func(m node.Metrics) uint64 { return m.Checked }),
		count("entries_spoilt_total", "Of these, signatures that were wrong: who carried them is named.", func(m node.Metrics) uint64 { return m.Spoilt }),
		metric("carried_bytes", "Bytes of bodies held for others.", gauge, func(m node.Metrics, _ node.Status) float64 { return float64(m.Carried) }),
		count("bodies_not_carried_total", "Bodies for others that the quota left out.", func(m node.Metrics) uint64 { return m.NotCarried }),
		count("bodies_evicted_total", "Bodies for others that were given up.", func(m node.Metrics) uint64 { return m.Evicted }),
		count("store_errors_total", "Entries that could not be saved.", func(m node.Metrics) uint64 { return m.StoreErrors }),
		count("messages_opened_total", "Messages opened.", func(m node.Metrics) uint64 { return m.Opened }),
		count("messages_unopened_total", "Sealed messages that cannot be opened.", func(m node.Metrics) uint64 { return m.Unopened }),
		count("messages_unprovable_total", "Messages whose content does not match their header.", func(m node.Metrics) uint64 { return m.Unprovable }),
		count("messages_sent_total", "Messages and receipts sent.", func(m node.Metrics) uint64 { return m.Sent }),
		count("publish_failures_total", "Entries that gossip did not take; synchronisation carries them.", func(m node.Metrics) uint64 { return m.PublishFailed }),
		count("mesh_frames_accepted_total", "Frames from gossip that were good.", func(m node.Metrics) uint64 { return m.Mesh.Accepted }),
		count("mesh_frames_ignored_total", "Frames from gossip that were known, early or too many.", func(m node.Metrics) uint64 { return m.Mesh.Ignored }),
		count("mesh_frames_rejected_total", "Frames from gossip that were invalid.", func(m node.Metrics) uint64 { return m.Mesh.Rejected }),
		count("mesh_frames_dropped_total", "Frames dropped because a queue was full; synchronisation carries them.", func(m node.Metrics) uint64 {
			return m.Mesh.Throttled + m.Mesh.DroppedRPCs + m.Mesh.Undeliverable
		}),
		count("mesh_duplicates_total", "Frames from gossip that came again.", func(m node.Metrics) uint64 { return m.Mesh.Duplicates }),
		count("mesh_suppressed_total", "Frames not sent because the neighbour had them.", func(m node.Metrics) uint64 { return m.Mesh.Suppressed }),
		count("mesh_spared_total", "Frames not sent to a neighbour because others hand them on.", func(m node.Metrics) uint64 { return m.Mesh.Spared }),
		count("mesh_malformed_total", "Gossip streams ended because what came was none.", func(m node.Metrics) uint64 { return m.Mesh.Malformed }),
		count("mesh_knocks_total", "Connections that others opened, admitted or not.", func(m node.Metrics) uint64 { return m.Mesh.Knocks }),
		count("mesh_outbox_dropped_urgent_total", "Control and urgent frames dropped because a neighbour did not take them; synchronisation carries them.", func(m node.Metrics) uint64 {
			return m.Mesh.Dropped[0] + m.Mesh.Dropped[1]
		}),
		count("mesh_outbox_dropped_total", "Routine and bulk frames dropped for the same reason.", func(m node.Metrics) uint64 {
			return m.Mesh.Dropped[2] + m.Mesh.Dropped[3]
		}),
		count("mesh_over_budget_total", "What neighbours sent beyond their budgets, dropped unseen.", func(m node.Metrics) uint64 { return total(m.Mesh.Budget) }),
		count("mesh_cut_total", "Neighbours cut off.", func(m node.Metrics) uint64 { return total(m.Mesh.Cut) }),
		count("mesh_sync_bytes_in_total", "Bytes of synchronisation received.", func(m node.Metrics) uint64 { return m.Mesh.SyncIn }),
		count("mesh_sync_bytes_out_total", "Bytes of synchronisation sent.", func(m node.Metrics) uint64 { return m.Mesh.SyncOut }),
		state("attachments_kept_bytes", "Bytes of attachments kept for this device's messages.", func(s node.Status) float64 { return float64(s.Attachments.KeptBytes) }),
		state("attachments_carried_bytes", "Bytes of attachments carried for others.", func(s node.Status) float64 { return float64(s.Attachments.CarriedBytes) }),
		state("attachments_missing", "Parts of attachments that are wanted and not here yet.", func(s node.Status) float64 { return float64(s.Attachments.Missing) }),
		count("attachment_bytes_in_total", "Bytes of attachments fetched.", func(m node.Metrics) uint64 { return m.Mesh.BlobIn }),
		count("attachment_bytes_out_total", "Bytes of attachments served.", func(m node.Metrics) uint64 { return m.Mesh.BlobOut }),
		count("attachment_parts_bad_total", "Parts of attachments that were not what their name says.", func(m node.Metrics) uint64 { return m.Mesh.BlobsBad }),
		count("pulls_total", "Synchronisations with a neighbour.", func(m node.Metrics) uint64 { return m.Pulls }),
		count("pull_failures_total", "Synchronisations that failed.", func(m node.Metrics) uint64 { return m.PullFailures }),
		metric("mesh_contacts", "Devices in the address book.", gauge, func(m node.Metrics, _ node.Status) float64 { return float64(m.Mesh.Contacts) }),
		metric("mesh_reservations", "Relays through which this device can be reached.", gauge, func(m node.Metrics, _ node.Status) float64 { return float64(m.Mesh.Reservations) }),
		metric("mesh_carried", "Connections carried for others now.", gauge, func(m node.Metrics, _ node.Status) float64 { return float64(m.Mesh.CarriedNow) }),
		count("mesh_carried_total", "Connections carried for others.", func(m node.Metrics) uint64 { return m.Mesh.Carried }),
		count("mesh_carried_bytes_total", "Bytes carried for others.", func(m node.Metrics) uint64 { return m.Mesh.CarriedBytes }),
		count("mesh_carry_refused_total", "Reservations and connections that this relay refused.", func(m node.Metrics) uint64 { return m.Mesh.CarryRefused }),
		count("mesh_exchanges_total", "Address exchanges with neighbours.", func(m node.Metrics) uint64 { return m.Mesh.Exchanges }),
		count("mesh_exchanges_refused_total", "Address exchanges that broke the rules or came too often.", func(m node.Metrics) uint64 { return m.Mesh.ExchangesRefused }),
		count("mesh_records_refused_total", "Address records not taken: too many strangers from one neighbour.", func(m node.Metrics) uint64 { return m.Mesh.RecordsRefused }),
		count("mesh_networks_total", "Changes of this machine's network addresses.", func(m node.Metrics) uint64 { return m.Mesh.Networks }),
	}
}

// total adds up counters by word.
func total(counts map[string]uint64) (sum uint64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

func truth(v bool) float64 {
	if v {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (c *nodeCollector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range nodeMetrics() {
		out <- m.desc
	}
	out <- refusedDesc()
}

// Collect implements prometheus.Collector.
func (c *nodeCollector) Collect(out chan<- prometheus.Metric) {
	metrics, status := c.node.Metrics(), c.node.Status()
	for _, m := range nodeMetrics() {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(metrics, status))
	}
	for reason, n := range status.Refused {
		out <- prometheus.MustNewConstMetric(refusedDesc(), prometheus.CounterValue, float64(n), reason)
	}
}
