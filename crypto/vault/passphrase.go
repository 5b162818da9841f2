package vault

import (
	"fmt"
	"io"
	"strings"

	"github.com/sethvargo/go-diceware/diceware"
)

// passphraseWords is how many words a generated passphrase has: six of the
// EFF's 7,776 are 77 bits.
const passphraseWords = 6

// GeneratePassphrase draws six different words of the EFF's long list, joined
// by single spaces, with randomness from rand.
func GeneratePassphrase(rand io.Reader) (string, error) {
	g, err := diceware.NewGenerator(&diceware.GeneratorInput{
		WordList:   diceware.WordListEffLarge(),
		RandReader: rand,
	})
	if err != nil {
		return "", fmt.Errorf("vault: passphrase generator: %w", err)
	}
	words, err := g.Generate(passphraseWords)
	if err != nil {
		return "", fmt.Errorf("vault: no randomness for a passphrase: %w", err)
	}
	return strings.Join(words, " "), nil
}

func checkPassphrase(p []byte) error {
	if len(p) < MinPassphrase {
		return fmt.Errorf("vault: the passphrase has %d characters; use %d or more, best the six words that are generated", len(p), MinPassphrase)
	}
	if len(p) > MaxPassphrase {
		return fmt.Errorf("vault: the passphrase has %d characters; use %d at most", len(p), MaxPassphrase)
	}
	return nil
}
