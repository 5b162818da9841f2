package record

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// Client sends uploads to one FHIR endpoint. It opens no connection but to URL, follows no redirection and sends no cookie.
type Client struct {
	// URL is the base of the endpoint, such as https://record.nhs.example/fhir/R4.
	URL string
	// HTTP does the requests. [NewHTTP] makes one.
	HTTP *http.Client
	// Token, if set, returns the bearer token. It is asked before each request, so that a token that was renewed is used at once.
	Token func() (string, error)
	// Sleep waits for d, or until ctx is over. It is required: the package has no clock.
	Sleep func(ctx context.Context, d time.Duration) error
	// Saved, if set, is called with the receipts that an answer brought, one call at a time. An error ends the upload.
	Saved func([]Receipt) error
}

// TLS are the files for a mutual TLS connection; all may be empty.
type TLS struct {
	// CA are the authorities to believe, in PEM; empty for those of the system.
	CA string
	// Certificate and Key are ours, in PEM.
	Certificate, Key string
}

// NewHTTP makes a client with time limits that follows no redirection: patient data goes where it was told to and nowhere else.
func NewHTTP(t TLS, timeout time.Duration) (*http.Client, error) {
	if timeout <= 0 {
		return nil, errors.New("record: a client needs a time limit for each request")
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return nil, fmt.Errorf("record: the authorities of the endpoint: %w", err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("record: %s holds no certificate in PEM", t.CA)
		}
	}
	if (t.Certificate == "") != (t.Key == "") {
		return nil, errors.New("record: mutual TLS needs a certificate and its key: name both or none")
	}
	if t.Certificate != "" {
		pair, err := tls.LoadX509KeyPair(t.Certificate, t.Key)
		if err != nil {
			return nil, fmt.Errorf("record: our certificate for the endpoint: %w", err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Timeout: timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{TLSClientConfig: cfg, Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: InFlight,
			MaxConnsPerHost: InFlight, ResponseHeaderTimeout: timeout}}, nil
}

// TokenFile returns a bearer token from a file that only its owner can read.
func TokenFile(path string) func() (string, error) {
	return func() (string, error) {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			return "", fmt.Errorf("record: the token: %w", err)
		case info.Mode().Perm()&0o077 != 0:
			return "", fmt.Errorf("record: others can read the token in %s; run chmod 600 on it", path)
		case info.Size() > maxTokenFile:
			return "", fmt.Errorf("record: %s has %d bytes and is no token", path, info.Size())
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return "", fmt.Errorf("record: the token: %w", err)
		}
		token := strings.TrimSpace(string(raw))
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			return "", fmt.Errorf("record: %s holds no token: one line of printable characters", path)
		}
		return token, nil
	}
}

// CheckURL says what is wrong with the address of an endpoint. Plain HTTP is for this machine only.
func CheckURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.RawQuery != "" || u.Fragment != "":
		return errors.New("record: the address of the endpoint is no URL such as https://record.nhs.example/fhir/R4")
	case u.User != nil:
		return errors.New("record: no password belongs into the address of the endpoint: put the token into a file")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && Loopback(s):
		return nil
	}
	return errors.New("record: patient data goes over HTTPS only (plain HTTP on this machine itself)")
}

// Loopback reports whether an address is of this machine itself.
func Loopback(s string) bool {
	u, err := url.Parse(s)
	if err != nil {
		return false
	}
	host := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || net.ParseIP(host).IsLoopback()
}

// Run sends an upload until it is over, stops, or ctx ends: at most [InFlight] requests at once. It returns nil only when the upload is over;
// messages may have been refused then, which [Upload.Status] says. After any other return it can be begun again with the
// receipts that were saved.
func (c *Client) Run(ctx context.Context, u *Upload) error {
	if err := CheckURL(c.URL); err != nil {
		return err
	}
	if c.HTTP == nil || c.Sleep == nil {
		return errors.New("record: a Client needs HTTP and Sleep")
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &run{c: c, u: u, ctx: ctx, answers: make(chan answered, InFlight)}
	err := r.loop()
	cancel()
	for ; r.under > 0; r.under-- {
		<-r.answers // every request was begun here and is waited for here
	}
	return err
}

// run is one call of Run. One goroutine for each request under way hands its answer to the loop and ends.
type run struct {
	c       *Client
	u       *Upload
	ctx     context.Context
	answers chan answered
	under   int
}

type answered struct {
	number int
	answer Answer
}

func (r *run) loop() error {
	for {
		if err := r.fill(); err != nil {
			return err
		}
		if r.under == 0 {
			if r.u.Status().Over {
				return nil
			}
			return errors.New("record: nothing is left to send, and not everything is there; this is a fault of Tocsin")
		}
		if err := r.take(<-r.answers); err != nil {
			return err
		}
		if err := r.ctx.Err(); err != nil {
			return err
		}
	}
}

// fill sends what may be sent.
func (r *run) fill() error {
	for {
		if wait := r.u.Wait(); wait > 0 && r.under == 0 {
			if err := r.c.Sleep(r.ctx, wait); err != nil {
				return err
			}
		} else if wait > 0 {
			return nil // an answer under way is waited for first
		}
		o, err := r.u.Next()
		if o == nil || err != nil {
			return err
		}
		r.under++
		go func() { r.answers <- answered{o.Number, r.c.send(r.ctx, o)} }()
		if r.under == InFlight {
			return nil
		}
	}
}

// take hands an answer to the upload and keeps what it made of it.
func (r *run) take(a answered) error {
	r.under--
	if err := r.u.Done(a.number, a.answer); err != nil {
		return err
	}
	if news := r.u.News(); len(news) > 0 && r.c.Saved != nil {
		if err := r.c.Saved(news); err != nil {
			return fmt.Errorf("record: what was sent could not be noted, so sending ends: %w", err)
		}
	}
	return nil
}

// send does one request. Every failure is an Answer.
func (c *Client) send(ctx context.Context, o *Order) Answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.URL, "/"), o.Body())
	if err != nil {
		return Answer{Err: err}
	}
	req.ContentLength = o.Size()
	req.GetBody = func() (io.ReadCloser, error) { return o.Body(), nil }
	req.Header.Set("Content-Type", "application/fhir+json")
	req.Header.Set("Accept", "application/fhir+json")
	if !o.Reading {
		req.Header.Set("Prefer", "return=minimal") // what it stored is asked for by itself
	}
	if c.Token != nil {
		token, err := c.Token()
		if err != nil {
			return Answer{Status: http.StatusUnauthorized, Err: err}
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return Answer{Err: plain(err)}
	}
	defer resp.Body.Close()
	a := Answer{Status: resp.StatusCode}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		a.RetryAfter = time.Duration(min(s, 3600)) * time.Second
	}
	var body bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= maxResponse {
		body.Grow(int(n) + bytes.MinRead) // it need not be moved while it grows
	}
	if _, err := body.ReadFrom(http.MaxBytesReader(nil, resp.Body, maxResponse)); err != nil {
		return Answer{Err: plain(err)}
	}
	a.Body = &body
	return a
}

// plain takes the URL out of an error: where it goes is known, and a query may be in it.
func plain(err error) error {
	var e *url.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
