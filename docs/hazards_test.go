package docs

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// The hazard log (clinical-safety.md): every hazard says its causes, its effect, what controls it with a test, and what is left with a rating.

var (
	hazardHead = regexp.MustCompile(`(?m)^### (H\d+)\. .+$`)
	ratingEnd  = regexp.MustCompile(`\*(Minor|Significant|Considerable|Major|Catastrophic), (very low|low|medium|high|very high): ([1-5])\b`)
	riskRow    = regexp.MustCompile(`(?m)^\| (very low|low|medium|high|very high) \|(.+)\|$`)
)

// checkHazards lists what a hazard log lacks.
func checkHazards(text string) (faults []string) {
	matrix := make(map[string][]string)
	for _, m := range riskRow.FindAllStringSubmatch(text, -1) {
		matrix[m[1]] = strings.Fields(strings.ReplaceAll(m[2], "|", " "))
	}
	severities := []string{"Minor", "Significant", "Considerable", "Major", "Catastrophic"}
	heads := hazardHead.FindAllStringSubmatchIndex(text, -1)
	for i, at := range heads {
		name, end := text[at[2]:at[3]], len(text)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		body, _, _ := strings.Cut(text[at[1]:end], "\n## ")
		if want := fmt.Sprintf("H%d", i+1); name != want {
			faults = append(faults, name+": the numbers have a gap: "+want)
		}
		parts := make(map[string]string)
		for _, p := range strings.Split(body, "\n- **")[1:] {
			title, rest, _ := strings.Cut(p, ".**")
			parts[title] = strings.TrimSpace(rest)
		}
		for _, title := range []string{"Causes", "Effect", "Controls", "Residual"} {
			if len(parts[title]) < 8 {
				faults = append(faults, name+": it does not say: "+title)
			}
		}
		if !testName.MatchString(parts["Controls"]) {
			faults = append(faults, name+": no test holds a control")
		}
		rating := ratingEnd.FindStringSubmatch(parts["Residual"])
		if rating == nil || !strings.Contains(parts["Residual"], "⟨") {
			faults = append(faults, name+": what is left has no rating, or no room for the reader's own")
			continue
		}
		for k, s := range severities {
			if s == rating[1] && (len(matrix[rating[2]]) != len(severities) || matrix[rating[2]][k] != rating[3]) {
				faults = append(faults, name+": the rating is not that of the table")
			}
		}
	}
	if len(heads) < 15 {
		faults = append(faults, fmt.Sprintf("%d hazards only", len(heads)))
	}
	return faults
}

func TestHazards(t *testing.T) {
	raw, err := Files.ReadFile("clinical-safety.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, fault := range checkHazards(text) {
		t.Error(fault)
	}
	for name, change := range map[string][2]string{
		"a hazard without effect":       {"- **Effect.** Help is not sent", "- Help is not sent"},
		"a control without a test":      {"`TestIncidentGoesForwardOnly`", "a test"},
		"a rating that is not the sum":  {"*Major, very low: 2.*", "*Major, very low: 1.*"},
		"a hazard without rating":       {"*Significant, medium: 2.*", ""},
		"a hazard that was taken out":   {"### H7. ", "### Seven. "},
		"no place for the reader's own": {"*⟨where passphrases are kept⟩*", ""},
	} {
		if altered := strings.Replace(text, change[0], change[1], 1); altered == text || len(checkHazards(altered)) == 0 {
			t.Errorf("planted and not found: %s", name)
		}
	}
}
