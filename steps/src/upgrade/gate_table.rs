//! What each minor release has taken away from the feature gates that the one before still took. Data.
//!
//! Made from the sources of Kubernetes. The gates that a release registers for `kube` are those of `pkg/features` of
//! k8s.io/kubernetes, k8s.io/apiserver and k8s.io/apiextensions-apiserver, of `logs/api/v1`, `metrics/features` and
//! `zpages/features` of k8s.io/component-base, and since 1.30 of `features` of k8s.io/client-go. All three components have
//! all of them. The controller manager also has those of k8s.io/controller-manager, which went in the same releases (its v0.25
//! and v0.26 were not read). Gone is what is not registered any more. Locked is what has `LockToDefault` in its entry for
//! that release, and had not in its entry for the one before; it is taken with its default only. From 1.32 on the entries
//! agree with the list that k8s.io/kubernetes keeps (`test/compatibility_lifecycle/reference`), but for what that list leaves
//! out.
//!
//! Read: v1.20.15, v1.21.14, v1.22.17, v1.23.17, v1.24.17, v1.25.16, v1.26.15, v1.27.16, v1.28.15, v1.29.6, v1.30.14,
//! v1.31.14, v1.32.13, v1.33.13, v1.34.4, v1.35.3, v1.36.3, v1.37.2.

/// What one minor release does not take any more. Names are separated by spaces.
pub(super) struct Row {
    /// The minor release.
    pub(super) since: u32,
    /// Not known any more, with any value.
    pub(super) gone: &'static str,
    /// Taken as true only.
    pub(super) on: &'static str,
    /// Taken as false only.
    pub(super) off: &'static str,
}

/// What a release does not take while it emulates an earlier one, although that one took it: the release, the gate, and the
/// one value that is taken, if one is. Entries for earlier releases are rewritten at times: 1.31 has
/// `MutatingAdmissionPolicy`, and 1.32's entries for that gate begin with 1.32; 1.36 says that `TopologyManagerPolicyOptions`
/// has been locked since 1.32.
pub(super) const EMULATING: [(u32, &str, Option<bool>); 2] =
    [(32, "MutatingAdmissionPolicy", None), (36, "TopologyManagerPolicyOptions", Some(true))];

/// By release.
pub(super) const GATES: [Row; 17] = [
    Row {
        since: 21,
        gone: "AttachVolumeLimit BlockVolume CSIBlockVolume CSIDriverRegistry CSIMigrationAWSComplete \
            CSIMigrationAzureDiskComplete CSIMigrationAzureFileComplete CSIMigrationGCEComplete \
            CSIMigrationOpenStackComplete CSINodeInfo EvenPodsSpread HyperVContainer \
            RotateKubeletClientCertificate TokenRequest TokenRequestProjection VolumePVCDataSource \
            WindowsGMSA WindowsRunAsUserName",
        on: "AllowInsecureBackendProxy CRIContainerLogRotation EndpointSlice EndpointSliceNodeName \
            ImmutableEphemeralVolumes NodeDisruptionExclusion PodDisruptionBudget RootCAConfigMap \
            RunAsGroup ServiceAccountIssuerDiscovery ServiceNodeExclusion Sysctls",
        off: "LegacyNodeRoleBehavior",
    },
    Row {
        since: 22,
        gone: "BalanceAttachedNodeVolumes CRIContainerLogRotation CSIMigrationvSphereComplete \
            ExternalPolicyForExternalIP LegacyNodeRoleBehavior NodeDisruptionExclusion RootCAConfigMap \
            RunAsGroup SCTPSupport ServiceAppProtocol ServiceNodeExclusion ServiceTopology \
            VolumeSnapshotDataSource",
        on: "BoundServiceAccountTokenVolume CSIServiceAccountToken CronJobControllerV2 \
            EndpointSliceProxying HugePageStorageMediumSize NamespaceDefaultLabelName SetHostnameAsFQDN \
            WarningHeaders WindowsEndpointSliceProxying",
        off: "",
    },
    Row {
        since: 23,
        gone: "AllowInsecureBackendProxy BoundServiceAccountTokenVolume CronJobControllerV2 NodeLease \
            ServiceAccountIssuerDiscovery StartupProbe SupportNodePidsLimit SupportPodPidsLimit Sysctls",
        on: "CSIVolumeFSGroupPolicy ConfigurableFSGroupPolicy GenericEphemeralVolume IPv6DualStack \
            IngressClassNamespacedParams StorageObjectInUseProtection TTLAfterFinished VolumeSubpath",
        off: "",
    },
    Row {
        since: 24,
        gone: "HugePageStorageMediumSize ImmutableEphemeralVolumes NamespaceDefaultLabelName RuntimeClass \
            SetHostnameAsFQDN StreamingProxyRedirects ValidateProxyRedirects WarningHeaders \
            csiMigrationRBD",
        on: "CSIMigrationOpenStack CSIStorageCapacity CSRDuration ControllerManagerLeaderMigration \
            DefaultPodTopologySpread EfficientWatchResumption IndexedJob NonPreemptingPriority \
            PodAffinityNamespaceSelector PodOverhead PreferNominatedNode RemoveSelfLink \
            ServiceLBNodePortControl ServiceLoadBalancerClass SuspendJob",
        off: "",
    },
    Row {
        since: 25,
        gone: "CSIServiceAccountToken CSIVolumeFSGroupPolicy ConfigurableFSGroupPolicy EndpointSlice \
            EndpointSliceNodeName EndpointSliceProxying GenericEphemeralVolume IPv6DualStack \
            IngressClassNamespacedParams PodDisruptionBudget SelectorIndex StorageObjectInUseProtection \
            TTLAfterFinished VolumeSubpath WindowsEndpointSliceProxying",
        on: "CSIInlineVolume CSIMigration CSIMigrationAWS CSIMigrationAzureDisk CSIMigrationGCE \
            DaemonSetUpdateSurge DisableAcceleratorUsageMetrics EphemeralContainers IdentifyPodOS \
            LocalStorageCapacityIsolation NetworkPolicyEndPort PodSecurity StatefulSetMinReadySeconds",
        off: "",
    },
    Row {
        since: 26,
        gone: "CSIMigrationOpenStack CSRDuration DefaultPodTopologySpread DynamicKubeletConfig IndexedJob \
            NonPreemptingPriority PodAffinityNamespaceSelector PodOverhead PreferNominatedNode \
            ServiceLBNodePortControl ServiceLoadBalancerClass SuspendJob",
        on: "CPUManager DelegateFSGroupToCSIDriver DevicePlugins DryRun EndpointSliceTerminatingCondition \
            JobTrackingWithFinalizers KubeletCredentialProviders MixedProtocolLBService ServerSideApply \
            ServiceIPStaticSubrange ServiceInternalTrafficPolicy WindowsHostProcessContainers",
        off: "",
    },
    Row {
        since: 27,
        gone: "CSIInlineVolume CSIMigration CSIMigrationAWS CSIMigrationAzureDisk \
            ControllerManagerLeaderMigration DaemonSetUpdateSurge EphemeralContainers ExpandCSIVolumes \
            ExpandInUsePersistentVolumes ExpandPersistentVolumes IdentifyPodOS \
            LocalStorageCapacityIsolation NetworkPolicyEndPort StatefulSetMinReadySeconds",
        on: "AdvancedAuditing CSIMigrationAzureFile CSIMigrationvSphere CronJobTimeZone \
            DownwardAPIHugePages GRPCContainerProbe JobMutableNodeSchedulingDirectives \
            LegacyServiceAccountTokenNoAutoGeneration OpenAPIV3 SeccompDefault ServerSideFieldValidation \
            TopologyManager",
        off: "",
    },
    Row {
        since: 28,
        gone: "AdvancedAuditing CSIMigrationGCE CSIStorageCapacity DelegateFSGroupToCSIDriver DevicePlugins \
            DisableAcceleratorUsageMetrics DryRun EndpointSliceTerminatingCondition \
            KubeletCredentialProviders MixedProtocolLBService NetworkPolicyStatus PodHasNetworkCondition \
            PodSecurity ServiceIPStaticSubrange ServiceInternalTrafficPolicy \
            UserNamespacesStatelessPodsSupport WindowsHostProcessContainers",
        on: "APISelfSubjectReview ExpandedDNSConfig IPTablesOwnershipCleanup KubeletPodResources \
            KubeletPodResourcesGetAllocatable LegacyServiceAccountTokenTracking MinimizeIPTablesRestore \
            NodeOutOfServiceVolumeDetach ProbeTerminationGracePeriod ProxyTerminatingEndpoints \
            RetroactiveDefaultStorageClass",
        off: "ExperimentalHostUserNamespaceDefaulting",
    },
    Row {
        since: 29,
        gone: "CSIMigrationvSphere CronJobTimeZone DownwardAPIHugePages GRPCContainerProbe \
            JobMutableNodeSchedulingDirectives JobTrackingWithFinalizers \
            LegacyServiceAccountTokenNoAutoGeneration MultiCIDRRangeAllocator OpenAPIV3 \
            ProbeTerminationGracePeriod RetroactiveDefaultStorageClass SeccompDefault TopologyManager",
        on: "APIListChunking APIPriorityAndFairness CSINodeExpandSecret CustomResourceValidationExpressions \
            JobReadyPods KMSv2 KMSv2KDF ReadWriteOncePod RemainingItemCount ServiceNodePortStaticSubrange",
        off: "",
    },
    Row {
        since: 30,
        gone: "APISelfSubjectReview CSIMigrationAzureFile ExpandedDNSConfig \
            ExperimentalHostUserNamespaceDefaulting IPTablesOwnershipCleanup KubeletPodResources \
            KubeletPodResourcesGetAllocatable LegacyServiceAccountTokenTracking MinimizeIPTablesRestore \
            ProxyTerminatingEndpoints RemoveSelfLink SecurityContextDeny",
        on: "AdmissionWebhookMatchConditions AggregatedDiscoveryEndpoint CloudDualStackNodeIPs \
            ConsistentHTTPGetHandlers HPAContainerMetrics LegacyServiceAccountTokenCleanUp \
            MinDomainsInPodTopologySpread NewVolumeManagerReconstruction PodHostIPs PodSchedulingReadiness \
            StableLoadBalancerNodeSet ValidatingAdmissionPolicy ZeroLimitedNominalConcurrencyShares",
        off: "",
    },
    Row {
        since: 31,
        gone: "APIPriorityAndFairness CSIMigrationRBD CSINodeExpandSecret ConsistentHTTPGetHandlers \
            CustomResourceValidationExpressions DefaultHostNetworkHostPortsInPodTemplates \
            InTreePluginAWSUnregister InTreePluginAzureDiskUnregister InTreePluginAzureFileUnregister \
            InTreePluginGCEUnregister InTreePluginOpenStackUnregister InTreePluginRBDUnregister \
            InTreePluginvSphereUnregister JobReadyPods ReadWriteOncePod ServiceNodePortStaticSubrange \
            SkipReadOnlyValidationGCE",
        on: "AppArmor AppArmorFields DevicePluginCDIDevices DisableCloudProviders \
            DisableKubeletCloudCredentialProviders ElasticIndexedJob JobPodFailurePolicy \
            KubeProxyDrainingTerminatingNodes LogarithmicScaleDown PDBUnhealthyPodEvictionPolicy \
            PersistentVolumeLastPhaseTransitionTime PodDisruptionConditions StatefulSetStartOrdinal",
        off: "",
    },
    Row {
        since: 32,
        gone: "CloudDualStackNodeIPs DRAControlPlaneController HPAContainerMetrics KMSv2 KMSv2KDF \
            LegacyServiceAccountTokenCleanUp MinDomainsInPodTopologySpread NewVolumeManagerReconstruction \
            NodeOutOfServiceVolumeDetach PodHostIPs ServerSideApply ServerSideFieldValidation \
            StableLoadBalancerNodeSet ValidatingAdmissionPolicy ZeroLimitedNominalConcurrencyShares",
        on: "ComponentSLIs CronJobsScheduledAnnotation CustomResourceFieldSelectors LoadBalancerIPMode \
            MemoryManager PodIndexLabel RetryGenerateName ServiceAccountTokenJTI \
            ServiceAccountTokenNodeBindingValidation ServiceAccountTokenPodNodeInfo \
            SizeMemoryBackedVolumes StatefulSetAutoDeletePVC StrictCostEnforcementForVAP \
            StrictCostEnforcementForWebhooks StructuredAuthorizationConfiguration",
        off: "AllowServiceLBStatusOnNonLB",
    },
    Row {
        since: 33,
        gone: "APIListChunking AdmissionWebhookMatchConditions AggregatedDiscoveryEndpoint AppArmor \
            AppArmorFields CPUManager DisableCloudProviders DisableKubeletCloudCredentialProviders \
            EfficientWatchResumption JobPodFailurePolicy KubeProxyDrainingTerminatingNodes \
            PDBUnhealthyPodEvictionPolicy PersistentVolumeLastPhaseTransitionTime RemainingItemCount \
            VolumeCapacityPriority WatchBookmark",
        on: "AnyVolumeDataSource BtreeWatchCache CPUManagerPolicyOptions CRDValidationRatcheting \
            CSIMigrationPortworx HonorPVReclaimPolicy JobBackoffLimitPerIndex JobSuccessPolicy \
            MatchLabelKeysInPodAffinity NFTablesProxyMode NodeInclusionPolicyInPodTopologySpread \
            RecursiveReadOnlyMounts ServiceAccountTokenNodeBinding ServiceTrafficDistribution \
            SidecarContainers TopologyAwareHints",
        off: "WatchFromStorageWithoutResourceVersion",
    },
    Row {
        since: 34,
        gone: "DevicePluginCDIDevices ElasticIndexedJob LegacySidecarContainers PodDisruptionConditions \
            StatefulSetStartOrdinal",
        on: "APIServerTracing AnonymousAuthConfigurableEndpoints AuthorizeNodeWithSelectors \
            AuthorizeWithSelectors ConsistentListFromCache JobPodReplacementPolicy \
            KubeletCgroupDriverFromCRI KubeletTracing MultiCIDRServiceAllocator NodeSwap \
            OrderedNamespaceDeletion PodLifecycleSleepAction PodLifecycleSleepActionAllowZero \
            RecoverVolumeExpansionFailure RelaxedDNSSearchValidation RelaxedEnvironmentVariableValidation \
            ResilientWatchCacheInitialization SchedulerQueueingHints SeparateTaintEvictionController \
            StreamingCollectionEncodingToJSON StreamingCollectionEncodingToProtobuf \
            StructuredAuthenticationConfiguration WinDSR WinOverlay",
        off: "",
    },
    Row {
        since: 35,
        gone: "AllowServiceLBStatusOnNonLB ComponentSLIs CronJobsScheduledAnnotation LoadBalancerIPMode \
            PodIndexLabel ProbeHostPodSecurityStandards SizeMemoryBackedVolumes StatefulSetAutoDeletePVC \
            StrictCostEnforcementForVAP StrictCostEnforcementForWebhooks \
            UserNamespacesPodSecurityStandards",
        on: "AggregatedDiscoveryRemoveBetaType DisableAllocatorDualWrite DynamicResourceAllocation \
            ExecProbeTimeout ImageMaximumGCAge InPlacePodVerticalScaling JobManagedBy \
            PodObservedGenerationTracking PreferSameTrafficDistribution SupplementalGroupsPolicy \
            SystemdWatchdog",
        off: "AllowOverwriteTerminationGracePeriodSeconds",
    },
    Row {
        since: 36,
        gone: "CSIMigrationPortworx HonorPVReclaimPolicy InPlacePodVerticalScalingAllocatedStatus \
            InTreePluginPortworxUnregister MemoryManager ServiceTrafficDistribution \
            StructuredAuthorizationConfiguration TopologyAwareHints WatchFromStorageWithoutResourceVersion",
        on: "CSIServiceAccountTokenSecrets DRAAdminAccess DeclarativeValidation DisableNodeKubeProxyVersion \
            ExternalServiceAccountTokenSigner ImageVolume InOrderInformers KubeletFineGrainedAuthz \
            KubeletPSI KubeletPodResourcesDynamicResources KubeletPodResourcesGet \
            MutableCSINodeAllocatableCount NodeLogQuery ProcMountType SELinuxChangePolicy \
            SELinuxMountReadWriteOncePod TopologyManagerPolicyOptions UserNamespacesSupport \
            VolumeAttributesClass",
        off: "GitRepoVolumeDriver SeparateCacheWatchRPC",
    },
    Row {
        since: 37,
        gone: "APIServerTracing AnonymousAuthConfigurableEndpoints AnyVolumeDataSource \
            AuthorizeNodeWithSelectors AuthorizeWithSelectors BtreeWatchCache ConsistentListFromCache \
            GangScheduling JobBackoffLimitPerIndex JobPodReplacementPolicy JobSuccessPolicy \
            LogarithmicScaleDown OrderedNamespaceDeletion PodLifecycleSleepAction \
            PodLifecycleSleepActionAllowZero PreventStaticPodAPIReferences RelaxedDNSSearchValidation \
            ResilientWatchCacheInitialization RetryGenerateName SchedulerQueueingHints SidecarContainers \
            StreamingCollectionEncodingToJSON StreamingCollectionEncodingToProtobuf \
            StructuredAuthenticationConfiguration WorkloadAwarePreemption",
        on: "DRAExtendedResource DRAPrioritizedList DRAResourceClaimDeviceStatus \
            DisableCPUQuotaWithExclusiveCPUs HPAConfigurableTolerance HostnameOverride \
            InPlacePodVerticalScalingInitContainers NodeDeclaredFeatures PLEGOnDemandRelist \
            PodReadyToStartContainersCondition RelaxedServiceNameValidation \
            WatchCacheInitializationPostStartHook",
        off: "DeclarativeValidationTakeover",
    },
];
