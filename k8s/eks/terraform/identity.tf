# Who in the cluster may do what in AWS, by EKS Pod Identity. Edge and backend may do nothing there, and are not named.
module "external_secrets_identity" {
  source  = "terraform-aws-modules/eks-pod-identity/aws"
  version = "2.8.1"

  name = "${var.name}-external-secrets"

  attach_external_secrets_policy = true
  external_secrets_secrets_manager_arns = concat(
    [for secret in aws_secretsmanager_secret.by_hand : secret.arn],
    [
      aws_secretsmanager_secret.store.arn,
      aws_secretsmanager_secret.database.arn,
      aws_secretsmanager_secret.database_endpoint.arn,
    ],
  )
  external_secrets_ssm_parameter_arns = []
  external_secrets_kms_key_arns       = []
  external_secrets_create_permission  = false

  associations = {
    cluster = {
      cluster_name    = module.eks.cluster_name
      namespace       = "external-secrets"
      service_account = "external-secrets"
    }
  }
}

module "load_balancer_identity" {
  source  = "terraform-aws-modules/eks-pod-identity/aws"
  version = "2.8.1"

  name = "${var.name}-load-balancer"

  attach_aws_lb_controller_policy = true

  associations = {
    cluster = {
      cluster_name    = module.eks.cluster_name
      namespace       = "kube-system"
      service_account = "aws-load-balancer-controller"
    }
  }
}

module "logs_identity" {
  source  = "terraform-aws-modules/eks-pod-identity/aws"
  version = "2.8.1"

  name = "${var.name}-logs"

  attach_custom_policy = true
  policy_statements = [
    {
      sid       = "List"
      actions   = ["s3:ListBucket"]
      resources = [aws_s3_bucket.logs.arn]
    },
    {
      sid       = "ReadAndWrite"
      actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
      resources = ["${aws_s3_bucket.logs.arn}/*"]
    },
  ]

  associations = {
    cluster = {
      cluster_name    = module.eks.cluster_name
      namespace       = "monitoring"
      service_account = "loki"
    }
  }
}
