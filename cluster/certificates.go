package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// The parts' names are what RBAC and the Node authorizer know them by.
var clients = map[string]pkix.Name{
	"admin":                   {CommonName: "admin", Organization: []string{"system:masters"}},
	"kube-controller-manager": {CommonName: "system:kube-controller-manager"},
	"kube-scheduler":          {CommonName: "system:kube-scheduler"},
	"kube-proxy":              {CommonName: "system:kube-proxy"},
	"coredns":                 {CommonName: "system:coredns"},
	"apiserver-to-kubelet":    {CommonName: "apiserver", Organization: []string{"system:masters"}},
}

// certificates writes everything that the parts need to trust each other into a folder:
//
//	codexrun-node certificates DIR NODE-NAME SERVER-ADDRESS...
//
// It is Go because Python's standard library cannot sign, and openssl is not on every machine.
func certificates() {
	if len(os.Args) < 4 {
		fail(fmt.Errorf("usage: certificates DIR NODE-NAME SERVER-ADDRESS..."))
	}
	dir, node, addresses := os.Args[1], os.Args[2], os.Args[3:]
	clients["kubelet"] = pkix.Name{CommonName: "system:node:" + node, Organization: []string{"system:nodes"}}

	authority := &x509.Certificate{
		Subject: pkix.Name{CommonName: "codexrun embedded node"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	authorityKey := sign(dir, "ca", authority, authority, nil)
	for name, subject := range clients {
		sign(dir, name, &x509.Certificate{
			Subject: subject, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, authority, authorityKey)
	}
	for _, name := range []string{"apiserver-serving", "kubelet-serving"} {
		serving := &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, DNSNames: []string{node},
		}
		for _, address := range addresses {
			if ip := net.ParseIP(address); ip != nil {
				serving.IPAddresses = append(serving.IPAddresses, ip)
			} else {
				serving.DNSNames = append(serving.DNSNames, address)
			}
		}
		sign(dir, name, serving, authority, authorityKey)
	}
	writeKey(dir, "service-account", newKey())
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	fail(err)
	return key
}

// sign makes a key and its certificate; with no issuer's key the certificate signs itself.
func sign(dir, name string, template, issuer *x509.Certificate, issuerKey crypto.Signer) crypto.Signer {
	key := newKey()
	if issuerKey == nil {
		issuerKey = key
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	fail(err)
	template.SerialNumber = serial
	// machines resumed from a snapshot may have a slow clock
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().AddDate(5, 0, 0)
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), issuerKey)
	fail(err)
	writePEM(filepath.Join(dir, name+".crt"), "CERTIFICATE", der, 0o644)
	writeKey(dir, name, key)
	return key
}

func writeKey(dir, name string, key *ecdsa.PrivateKey) {
	der, err := x509.MarshalECPrivateKey(key)
	fail(err)
	writePEM(filepath.Join(dir, name+".key"), "EC PRIVATE KEY", der, 0o600)
}

func writePEM(path, kind string, der []byte, mode os.FileMode) {
	fail(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), mode))
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, strings.TrimSpace("certificates: "+err.Error()))
		os.Exit(1)
	}
}
