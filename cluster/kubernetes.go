package main

import (
	"context"
	"os"
	_ "time/tzdata" // CronJobs with a time zone, in a binary that may run where no zone files are

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	_ "k8s.io/client-go/plugin/pkg/client/auth"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectlcmd "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubeletapp "k8s.io/kubernetes/cmd/kubelet/app"
)

func run(command *cobra.Command) { os.Exit(cli.Run(command)) }

func etcd()                  { etcdmain.Main(os.Args) }
func kubeAPIServer()         { run(apiserver.NewAPIServerCommand()) }
func kubeControllerManager() { run(controllermanager.NewControllerManagerCommand()) }
func kubeScheduler()         { run(scheduler.NewSchedulerCommand()) }
func kubeProxy()             { run(proxy.NewProxyCommand()) }
func kubelet()               { run(kubeletapp.NewKubeletCommand(context.Background())) }

func kubectl() {
	// As upstream's main does: the verbosity has to be known before the command (plugins, .kuberc)
	// is built.
	_, _ = logs.GlogSetter(kubectlcmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectlcmd.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}
