// A Pion client of one session: offers a data channel, sends a message, and says what came back.
//
//	go run . URL BEARER-TOKEN MESSAGE
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/pion/webrtc/v4"
)

const deadline = 15 * time.Second

func main() {
	if err := call(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func call(url, token, message string) error {
	settings := webrtc.SettingEngine{}
	settings.SetIncludeLoopbackCandidate(true)
	peer, err := webrtc.NewAPI(webrtc.WithSettingEngine(settings)).
		NewPeerConnection(webrtc.Configuration{BundlePolicy: webrtc.BundlePolicyMaxBundle})
	if err != nil {
		return err
	}
	defer peer.Close()
	channel, err := peer.CreateDataChannel("echo", nil)
	if err != nil {
		return err
	}
	echoed := make(chan string, 1)
	channel.OnOpen(func() { _ = channel.SendText(message) })
	channel.OnMessage(func(said webrtc.DataChannelMessage) { echoed <- string(said.Data) })

	offer, err := peer.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(peer)
	if err := peer.SetLocalDescription(offer); err != nil {
		return err
	}
	<-gathered // so that candidates are in the offer, for the allocator to take out
	answer, location, err := exchange(url, token, peer.LocalDescription().SDP)
	if err != nil {
		return err
	}
	description := webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}
	if err := peer.SetRemoteDescription(description); err != nil {
		return err
	}
	select {
	case text := <-echoed:
		return report(peer, text, location)
	case <-time.After(deadline):
		return fmt.Errorf("no echo within %v; the connection is %v", deadline, peer.ConnectionState())
	}
}

func exchange(url, token, offer string) (answer, location string, err error) {
	request, err := http.NewRequest(http.MethodPost, url, strings.NewReader(offer))
	if err != nil {
		return "", "", err
	}
	request.Header.Set("Content-Type", "application/sdp")
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%s: %s", response.Status, body)
	}
	return string(body), response.Header.Get("Location"), err
}

func report(peer *webrtc.PeerConnection, echo, location string) error {
	pair, err := peer.SCTP().Transport().ICETransport().GetSelectedCandidatePair()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(map[string]string{
		"echo":     echo,
		"location": location,
		"remote":   fmt.Sprintf("%s:%d", pair.Remote.Address, pair.Remote.Port),
	})
}
