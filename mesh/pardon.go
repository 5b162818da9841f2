package mesh

import (
	"math"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
)

// pardoned is what gossip is given where nobody's conduct counts (Unsafe.NoConduct):
// every neighbour is worth the same, whatever it sends.
func pardoned(topics []string) pubsub.Option {
	params := &pubsub.PeerScoreParams{
		SkipAtomicValidation: true,
		Topics:               make(map[string]*pubsub.TopicScoreParams),
		DecayInterval:        pubsub.DefaultDecayInterval,
		DecayToZero:          pubsub.DefaultDecayToZero,
		RetainScore:          time.Minute,
	}
	for _, t := range topics {
		params.Topics[t] = &pubsub.TopicScoreParams{SkipAtomicValidation: true, TimeInMeshQuantum: time.Second}
	}
	return pubsub.WithPeerScore(params, &pubsub.PeerScoreThresholds{
		GossipThreshold: -math.MaxFloat32, PublishThreshold: -math.MaxFloat32, GraylistThreshold: -math.MaxFloat32,
	})
}
