package record

// Limits of what is exported and of what an endpoint may answer.
const (
	// MaxItems is the most messages in one export.
	MaxItems = 200_000
	// MaxProof is the largest proof in bytes that is put into a package (ledger.MaxProofFile).
	MaxProof = 1 << 20
	// DefaultBatch is how many resources one transaction holds at most, unless [PlanOptions] says otherwise. What arises from one
	// message is never parted, so a batch may hold a few more where DefaultBatch is small.
	DefaultBatch = 48
	// MaxBatch bounds what a caller may ask for.
	MaxBatch = 500
	// batchContent bounds the files of one transaction in bytes; a larger one is sent with no other. An endpoint may return all of them.
	batchContent = 16 << 20
	// inlineContent is the largest file, in bytes, that is in memory while it is sent: proofs are. Larger ones are read on the way.
	inlineContent = 64 << 10
	// InFlight is how many requests are under way at once at most.
	InFlight = 2
	// maxResponse bounds an answer of the endpoint in bytes: it may hold every resource of the request again.
	maxResponse = 192 << 20
	// maxTries is how often one request is tried before the upload stops and says why.
	maxTries = 6
	// maxTokenFile bounds the file with the bearer token.
	maxTokenFile = 16 << 10
)
