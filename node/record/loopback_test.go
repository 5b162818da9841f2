package record

import "testing"

func TestLoopback(t *testing.T) {
	for url, want := range map[string]bool{"http://localhost:8080/fhir": true, "https://LOCALHOST./fhir": true, "http://127.0.0.1:1/x": true, "https://127.8.9.1": true,
		"http://[::1]:8080": true, "https://record.localhost/fhir": true, "https://record.nhs.example/fhir": false, "https://127.0.0.1.example": false,
		"https://10.0.0.1": false, "://": false} {
		if got := Loopback(url); got != want {
			t.Errorf("%s: %v", url, got)
		}
	}
}
