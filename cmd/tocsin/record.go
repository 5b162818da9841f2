package main

import "github.com/spf13/cobra"

// recordCommand holds everything about the medical record.
func (a *app) recordCommand() *cobra.Command {
	cmd := family("record", "Hand messages to the medical record, keep and erase them by rule, and answer requests for access",
		"  tocsin record queue\n  tocsin record review \"Bus crash A6\" --tag A-003 --nhs-number 9990000018\n  tocsin record sign-off \"Bus crash A6\"\n  tocsin record send \"Bus crash A6\"",
		a.recordQueue(), a.recordReview(), a.recordSignOff(), a.recordExport(), a.recordSend(), a.recordFetch(),
		a.recordRetention(), a.recordHold(), a.recordErase(), a.recordAccess())
	cmd.Long = `Hand messages to the medical record, keep and erase them by rule, and answer requests for
access.

A message is reviewed (is it about a patient, and about which?), signed off by a clinician,
and sent to the endpoint that --record-url of 'tocsin up' names, or exported to a file. It
counts as handed over once the endpoint has returned it as it was sent, and only then may
it be erased. An exercise is never sent; exported, it says so on every page.`
	return cmd
}
