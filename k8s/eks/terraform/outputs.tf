output "edge_env" {
  description = "Content of k8s/overlays/eks/edge.env."
  value       = <<-ENV
    VESTIBULE__STORE__CLUSTER=rediss://${aws_elasticache_replication_group.store.configuration_endpoint_address}:6379
    VESTIBULE__STORE__USERNAME=${aws_elasticache_user.edge.user_name}
    VESTIBULE__SERVER__TRUSTED_PROXIES=${join(",", module.vpc.private_subnets_cidr_blocks)}
  ENV
}

output "cluster_name" {
  description = "For `aws eks update-kubeconfig --name`, and for the charts of Karpenter and the balancer's controller."
  value       = module.eks.cluster_name
}

output "vpc_id" {
  description = "For the chart of the balancer's controller."
  value       = module.vpc.vpc_id
}

output "karpenter_queue" {
  description = "For the chart of Karpenter: where notices of interruptions arrive."
  value       = module.karpenter.queue_name
}

output "node_role_name" {
  description = "`role` of the EC2NodeClass in k8s/overlays/eks/nodes.yaml."
  value       = module.karpenter.node_iam_role_name
}

output "logs_bucket" {
  description = "For the chart of Loki."
  value       = aws_s3_bucket.logs.bucket
}
