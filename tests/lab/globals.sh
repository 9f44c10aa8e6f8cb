# What the files of the lab share in variables: in capitals, and declared here. All else is local to a function or a
# scenario. Sourced by session, which has set HERE (this directory); LAB_* are of `run`.
# shellcheck shell=bash

# --- what never changes ------------------------------------------------------------------------------------------------

NODES=${FULCRUM_LAB_NODES:-3} # the most that a scenario has
FABRIC_IP=10.77.0.1  # where clients are, and the balancer of a scenario with several nodes
VIP_ADDRESS=10.77.0.10 # where kube-vip is in front of them instead
COMPONENTS=(kube-apiserver kube-controller-manager kube-scheduler)
LEADERS=(kube-controller-manager kube-scheduler)
API_DAEMONSET=self-hosted-kube-apiserver
ALL_NODES_IMAGE=docker.io/library/fulcrum:lab # of the pods of a command for all nodes
GUARD_UNIT=fulcrum-guard.service
RUN_DEADLINE=600   # seconds until a run of fulcrum counts as hung: what it gives itself for a pivot
LOAD_RATE_FULL=200 # requests a second where the hand-over must not be noticed, on a machine that bears them
LOAD_RATE_SMALL=25 # and about, where it will be
GIVEN_UP=75        # how a scenario ends that `need` has ended

RESULTS=$LAB_CACHE/results # a line a check: ok or FAIL

# --- the node that the calls are about, by node_is: the first one, unless a scenario says otherwise ---------------------

NODE='' NODE_IP='' NODE_CARD='' # its name, its address, the address of its card
NODE_CGROUP=''                  # the root of its cgroups
DISK=''                         # its root file system, seen from outside
NODE_RUN=''                     # what belongs to one boot of it: the pid of its process 1, its boot id
MANIFESTS=''                    # its manifests directory
export KUBECONFIG=''            # kubectl outside of it, over the fabric: at its address, or at the balancer's
API_ENDPOINT=''                 # what its kubeconfigs name: HOST:PORT

# --- the scenario that is run, by session ------------------------------------------------------------------------------

SCENARIO=''    # its name
LOGS=''        # the directory of its logs
LAB_VERSION='' # the release of Kubernetes that it is run on, as v1.35.3
RELEASE_DIR='' # what `run` has made for that release: bin, images.tar, root, load

# --- checks, by lib.sh -------------------------------------------------------------------------------------------------

FAILED=''    # the last check has
LAST_SEEN='' # what the command of `within` printed last

# --- calls of fulcrum, by lib.sh and kills.sh ---------------------------------------------------------------------------

FULCRUM_THROUGH=()         # what is put in front of it: fulcrum_through
STATE_DIR=/var/lib/fulcrum # state_dir_is
CODE='' OUT='' ERR=''      # of the last call: its exit code, the files of its output and of its messages
HIT='' LAST_LINE=''        # of the last fulcrum_until: the number of the line at which it was killed, and the last line
WANTED_EVENT='' WANTED_STEP='' # what is_wanted looks for: want
BOUNDARIES=''                  # of fulcrum_killed_everywhere: where it has killed, each as [EVENT STEP]
COVERED_STEPS='' PRINTED_STEPS='' # the steps that a kill came at, and those that a line came of

# --- the node before the pivot, by remember_static ----------------------------------------------------------------------

STATIC_MANIFESTS='' STATIC_TRACES='' STATIC_ETCD=''

# --- the load, by load_start -------------------------------------------------------------------------------------------

LOAD_RATE='' # requests a second that the scenario's loads make at least: load_rate
LOAD_PID='' LOAD_LOG='' LOAD_SUMMARY=''

# --- several nodes, by nodes.sh ----------------------------------------------------------------------------------------

BALANCER_PID=''
LOADS=() # NAME PID LOG of each load
VIP=''   # the address that kube-vip holds, in front of the nodes; empty where haproxy is in front
STAYING=(etcd) # the static pods of each node that are no part of a pivot

# --- a command for all nodes, by all-nodes.sh -----------------------------------------------------------------------------

BEGUN='' # the files of the one that goes on beside the scenario, without their endings

# --- kube-vip, by vip.sh -----------------------------------------------------------------------------------------------

VIP_SINCE='' VIP_WAS='' VIP_CHANGES='' # vip_mark: the time, the node with the address, how often its lease had changed hands

# --- power cuts, by guard.sh -------------------------------------------------------------------------------------------

CUT_AT=''     # Unix time at which the power went: power_off
BOOTED_AT=''  # and at which it came back: power_on
RUNS_SINCE='' # hand_overs_from_now: the time as the ids of runs begin with it
