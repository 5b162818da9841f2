package main

import (
	"errors"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"tocsin/crypto/identity"
	"tocsin/node"
	"tocsin/node/record"
)

// The settings of the medical record's endpoint.
const (
	keyRecordURL         = "record.url"
	keyRecordToken       = "record.token_file"
	keyRecordCA          = "record.ca"
	keyRecordCertificate = "record.certificate"
	keyRecordKey         = "record.key"
	keyRecordLoopback    = "record.allow_loopback"

	keyCustodian     = "record.custodian"
	keyCustodianODS  = "record.custodian_ods"
	keyRetention     = "retention.days"
	keyUntransferred = "retention.before_transfer"
)

// recordTimeout bounds one request to the endpoint.
const recordTimeout = 2 * time.Minute

func recordSettings() []setting {
	file := func(key, flag, usage string) setting {
		return setting{key, flag, usage, textKind, upOnly, fixed(), nil}
	}
	return []setting{
		{keyRecordURL, "record-url", "FHIR R4 `endpoint` of the medical record, such as https://record.nhs.example/fhir/R4", textKind, upOnly,
			fixed(), each(checkRecordURL)},
		file(keyRecordToken, "record-token-file", "`file` with the bearer token for the record, of mode 0600; it is read before each request"),
		file(keyRecordCA, "record-ca", "`file` with the authorities to believe of the record's endpoint, in PEM; without it those of this machine"),
		file(keyRecordCertificate, "record-certificate", "`file` with our certificate for the record, in PEM, where it asks for one"),
		file(keyRecordKey, "record-key", "`file` with the key of that certificate, in PEM"),
	}
}

// keepingSettings are those of who keeps the record, and how long messages are kept.
func keepingSettings() []setting {
	return []setting{
		{keyRecordLoopback, "record-allow-loopback", "a record at an address of this machine itself is the real one: what it took may be erased", boolKind, upOnly,
			fixed("false"), nil},
		{keyCustodian, "record-custodian", "`organisation` that keeps the record, as its credentials name it; without it this person's own", textKind, upOnly,
			fixed(), each(checkCustodian)},
		{keyCustodianODS, "record-custodian-ods", "its ODS `code`", textKind, upOnly, fixed(), nil},
		{keyRetention, "retention-days", "keep messages for so many `days` after an incident's end, where their group says nothing else; or never, to erase none", textKind, upOnly,
			fixed("30"), each(checkRetention)},
		{keyUntransferred, "retention-before-transfer", "erase what is due although it is not in the medical record", boolKind, upOnly,
			fixed("false"), nil},
	}
}

func checkCustodian(s string) error {
	if s == "" {
		return nil
	}
	if err := identity.CheckOrg(s); err != nil {
		return fail(exitInput, "Write the host name in its credentials, such as stmarys.nhs.example.", "%w", err)
	}
	return nil
}

// maxRetention bounds the days that can be set: a hundred years.
const maxRetention = 36_525

// parseRetention reads the days; negative for never.
func parseRetention(s string) (days int, ok bool) {
	if s == "never" {
		return -1, true
	}
	days, err := strconv.Atoi(s)
	return days, err == nil && days >= 1 && days <= maxRetention
}

func checkRetention(s string) error {
	if _, ok := parseRetention(s); !ok {
		return fail(exitInput, "Write a number of days such as 30, or never.", "%q does not say for how long messages are kept", s)
	}
	return nil
}

// setRecord fills in what the settings say of the record and of keeping messages.
func (a *app) setRecord(c *config, cfg *node.Config) error {
	cfg.Custodian, cfg.CustodianODS = c.text(keyCustodian), c.text(keyCustodianODS)
	cfg.Retention.Days, _ = parseRetention(c.text(keyRetention)) // checked when it was loaded
	cfg.Retention.BeforeTransfer = c.yes(keyUntransferred)
	if c.text(keyRecordURL) == "" {
		return nil
	}
	e, err := a.recordEndpoint(c)
	if err != nil {
		return err
	}
	cfg.Record = &node.RecordEndpoint{URL: e.url, HTTP: e.http, Token: e.token, AllowLoopback: c.yes(keyRecordLoopback)}
	return nil
}

// recordFiles are those of the settings that name a file.
func recordFiles() []string {
	return []string{keyRecordToken, keyRecordCA, keyRecordCertificate, keyRecordKey}
}

func checkRecordURL(s string) error {
	if s == "" {
		return nil
	}
	if err := record.CheckURL(s); err != nil {
		return fail(exitInput, "Write an address such as https://record.nhs.example/fhir/R4.", "%w", err)
	}
	return nil
}

// addRecordFlags gives a command that talks to the record by itself the flags of its endpoint.
func (a *app) addRecordFlags(flags *pflag.FlagSet) {
	for _, s := range recordSettings() {
		flags.VarPF(a.flags[s.key], s.flag, "", s.usage)
	}
}

// recordEndpoint is where the record is, and how it is reached.
type recordEndpoint struct {
	url   string
	http  *http.Client
	token func() (string, error) // nil for none
}

// recordEndpoint reads the settings of the endpoint.
func (a *app) recordEndpoint(c *config) (*recordEndpoint, error) {
	e := &recordEndpoint{url: strings.TrimSuffix(c.text(keyRecordURL), "/")}
	if e.url == "" {
		return nil, fail(exitUsage, "Give it with --record-url, or as url under [record] in the configuration file.", "where the medical record is was not said")
	}
	var err error
	if e.http, err = record.NewHTTP(c.recordTLS(), recordTimeout); err != nil {
		code := exitInput
		if errors.Is(err, os.ErrNotExist) {
			code = exitNotFound
		}
		return nil, fail(code, "Check the files under [record] in the configuration.", "%w", err)
	}
	if path := c.text(keyRecordToken); path != "" {
		e.token = record.TokenFile(path)
	}
	return e, nil
}

func (c *config) recordTLS() record.TLS {
	return record.TLS{CA: c.text(keyRecordCA), Certificate: c.text(keyRecordCertificate), Key: c.text(keyRecordKey)}
}
